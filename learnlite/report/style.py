"""How a report looks, in a light and in a dark room, and on paper."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --blue: #2a6fc9; }
* { box-sizing: border-box; }
body { font: 15px/1.55 system-ui, sans-serif; max-width: 1040px; margin: 2.5rem auto;
  padding: 0 1.2rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.25rem; margin: 3rem 0 .8rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .4rem; }
p { margin: .3rem 0; max-width: 46rem; }
figure { margin: 0; }
.headline { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.4rem 0 0; }
.headline div { background: var(--soft); border-radius: 8px; padding: .6rem 1.1rem;
  min-width: 8.5rem; }
.headline dt { font-size: .85rem; opacity: .75; }
.headline dd { margin: 0; font-size: 1.5rem; font-weight: 600;
  font-variant-numeric: tabular-nums; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr));
  gap: 1.2rem 2rem; }
.charts figcaption { font-weight: 600; font-size: .95rem; }
.note { font-size: .9rem; opacity: .8; }
.beside { display: flex; flex-wrap: wrap; gap: 1.5rem 3rem; align-items: flex-start;
  margin-top: .8rem; }
.beside > figure { flex: 1 1 400px; max-width: 520px; }
.beside > div { flex: 0 1 auto; }
.beside > figure + div { flex: 1 1 280px; }
.beside ul { margin: 0; padding-left: 1.1rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr));
  gap: 1.2rem 1rem; margin-top: .8rem; }
.pictures figure { min-width: 0; font-size: .9rem; line-height: 1.4; }
.pictures img { width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--soft);
  border-radius: 6px; display: block; margin-bottom: .35rem; }
.pictures small { display: block; opacity: .65; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
details { margin-top: 1rem; }
summary { cursor: pointer; }
.wide { overflow-x: auto; }
.named td:first-child { white-space: nowrap; }
section > .wide { margin-top: 1rem; }
.named td:first-child, .named th:first-child, .settings td { text-align: left; }
.settings td { padding-left: 0; overflow-wrap: anywhere; }
.settings td:first-child { opacity: .75; padding-right: 2rem; }
.matrix td { text-align: center; min-width: 3.2rem; padding: .5rem; border: 1px solid var(--line); }
.matrix tr > td[colspan] { border: 0; }
.matrix th { border: 0; font-weight: 500; }
.matrix tr:nth-child(2) th { text-align: center; padding: .25rem .5rem; }
.matrix .top, .matrix .side { opacity: .7; font-size: .85rem; text-align: center;
  font-weight: 400; }
.matrix .side { padding: 0 .2rem; }
.matrix .dark { color: white; }
.turned { vertical-align: bottom; }
.turned span, .side span { writing-mode: vertical-rl; transform: rotate(180deg); }
svg { width: 100%; font-size: 11px; display: block; }
svg text { fill: currentColor; }
.grid { stroke: var(--line); }
.shade { fill: var(--blue); opacity: .12; }
.line { fill: none; stroke-width: 2; stroke: var(--c); }
.dot { fill: var(--c); }
svg .name { fill: var(--c); font-weight: 600; }
.slot { fill: var(--line); opacity: .35; }
.bar { fill: var(--blue); }
svg .count { font-size: 10px; }
.diagonal { stroke: currentColor; stroke-dasharray: 5 4; }
.c0 { --c: #2a6fc9; } .c1 { --c: #d9701a; } .c2 { --c: #2f9444; }
.c3 { --c: #c0392b; } .c4 { --c: #7d52b5; } .c5 { --c: #777; }
pre { background: var(--soft); padding: .9rem 1.1rem; overflow-x: auto; border-radius: 8px; }
footer { margin: 3.5rem 0 1rem; opacity: .6; font-size: .85rem; }
@media print { section figure, tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""
