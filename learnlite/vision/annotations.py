"""Boxes and their labels from annotation files in the form of COCO."""

import json
from pathlib import Path
from typing import Any

from learnlite.data.files import check_file

Boxes = tuple[list[list[float]], list[Any]]
"""Boxes (left, top, right, bottom) of one image, and the label of each."""


def get_annotations(fname: str | Path, prefix: str | None = None) -> tuple[list[str], list[Boxes]]:
    """The names of the images that have boxes, and for each its boxes and their labels.

    `prefix` comes before each name. Boxes are (left, top, right, bottom), as `BBoxBlock` wants
    them.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder, "train.json")
    ...     box = {"image_id": 7, "category_id": 3, "bbox": [10, 20, 5, 6]}
    ...     images, kinds = [{"id": 7, "file_name": "7.jpg"}], [{"id": 3, "name": "dog"}]
    ...     _ = file.write_text(
    ...         json.dumps({"images": images, "categories": kinds, "annotations": [box]})
    ...     )
    ...     get_annotations(file)
    (['7.jpg'], [([[10, 20, 15, 26]], ['dog'])])
    """
    file = Path(fname)
    check_file(file)
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        labels = {kind["id"]: kind["name"] for kind in given["categories"]}
        names = {image["id"]: f"{prefix or ''}{image['file_name']}" for image in given["images"]}
        found: dict[Any, Boxes] = {}
        for note in given["annotations"]:
            left, top, width, height = note["bbox"]
            boxes, of_boxes = found.setdefault(note["image_id"], ([], []))
            boxes.append([left, top, left + width, top + height])
            of_boxes.append(labels[note["category_id"]])
        order = [i for i in names if i in found]
    except (KeyError, TypeError, ValueError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(
            f"`{file}` is no annotation file of COCO's form: {what}; it holds `images`, "
            "`categories`, and `annotations` with `image_id`, `category_id` and `bbox`"
        ) from error
    return [names[i] for i in order], [found[i] for i in order]
