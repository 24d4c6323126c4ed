"""How a report looks, in a light and in a dark room."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --blue: #2a6fc9; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; }
h2 { font-size: 1.15rem; border-bottom: 1px solid var(--line); margin-top: 2rem; }
section figure { display: inline-block; margin: .3rem; vertical-align: top; width: 460px;
  max-width: 100%; }
.pictures figure { width: 165px; text-align: center; font-size: .85rem; overflow-wrap: anywhere; }
.pictures img { max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; }
.matrix td { text-align: center; min-width: 2.2rem; }
.matrix .dark { color: white; }
.matrix caption { caption-side: bottom; text-align: left; opacity: .7; font-size: .85rem; }
.turned { vertical-align: bottom; }
.turned span { writing-mode: vertical-rl; transform: rotate(180deg); }
svg { width: 100%; font-size: 11px; }
svg text { fill: currentColor; }
.grid { stroke: var(--line); }
.line { fill: none; stroke-width: 1.8; stroke: var(--c); }
.dot { fill: var(--c); }
svg .name { fill: var(--c); }
.bar { fill: var(--blue); opacity: .8; }
.diagonal { stroke: currentColor; stroke-dasharray: 5 4; opacity: .6; }
.c0 { --c: #2a6fc9; } .c1 { --c: #d9701a; } .c2 { --c: #2f9444; }
.c3 { --c: #c0392b; } .c4 { --c: #7d52b5; } .c5 { --c: #777; }
pre { background: #8882; padding: .8rem; overflow-x: auto; border-radius: 4px; }
footer { margin: 3rem 0 1rem; opacity: .6; font-size: .85rem; }
"""
