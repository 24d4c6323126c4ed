"""Finding files: all of them, in order, and a sentence when there are none."""

import os
from pathlib import Path

import pytest
from PIL import Image

from learnlite.data.files import get_files, get_image_files, image_extensions, ls


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "train/cat/10.jpg",
        "train/cat/2.JPG",
        "train/dog/1.png",
        "train/dog/.hidden.png",
        "valid/cat/3.tiff",
        ".cache/4.jpg",
        "readme.txt",
        "cover.gif",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(files: list[Path], top: Path) -> list[str]:
    return [file.relative_to(top).as_posix() for file in files]


def test_files_come_in_the_order_of_their_paths_without_hidden_ones(tree: Path) -> None:
    found = get_files(tree)
    assert names(found, tree) == [
        "cover.gif",
        "readme.txt",
        "train/cat/10.jpg",
        "train/cat/2.JPG",
        "train/dog/1.png",
        "valid/cat/3.tiff",
    ]
    assert found == sorted(found)
    plain = [p for p in tree.rglob("*") if p.is_file() and "/." not in p.as_posix()]
    assert found == sorted(plain)


@pytest.mark.parametrize("followlinks", [False, True])
def test_links_that_lead_to_themselves_are_no_files(tree: Path, followlinks: bool) -> None:
    before = get_image_files(tree)
    (tree / "train" / "loop.jpg").symlink_to("loop.jpg")
    (tree / "train" / "one.jpg").symlink_to("two.jpg")
    (tree / "train" / "two.jpg").symlink_to("one.jpg")
    assert get_image_files(tree, followlinks=followlinks) == before


def test_extensions_count_in_any_case_with_or_without_the_dot(tree: Path) -> None:
    jpegs = ["train/cat/10.jpg", "train/cat/2.JPG"]
    for extensions in (".jpg", "jpg", "JPG", [".jpg"], {"jpg", ".bmp"}):
        assert names(get_files(tree, extensions), tree) == jpegs
    assert len(get_image_files(tree)) == 5


def test_folders_are_those_at_the_top_and_a_dot_is_the_top_itself(tree: Path) -> None:
    assert names(get_image_files(tree, folders="valid"), tree) == ["valid/cat/3.tiff"]
    assert names(get_image_files(tree, folders=[".", "valid"]), tree) == [
        "cover.gif",
        "valid/cat/3.tiff",
    ]
    assert names(get_files(tree, recurse=False), tree) == ["cover.gif", "readme.txt"]
    with pytest.raises(FileNotFoundError, match="no folder `test` in .*only `train`, `valid`"):
        get_files(tree, folders=["train", "test"])
    with pytest.raises(FileNotFoundError, match="no folder `test` in `.*cat`, nor any other$"):
        get_files(tree / "train" / "cat", folders="test")
    with pytest.raises(ValueError, match="without `recurse`"):
        get_files(tree, folders="train", recurse=False)


def test_linked_folders_are_followed_unless_told_otherwise_and_circles_end(tree: Path) -> None:
    (tree / "train" / "loop").symlink_to(tree)
    (tree / "valid" / "self").symlink_to(".")
    assert len(get_files(tree)) == len(get_files(tree, followlinks=False)) == 6
    outside = tree.parent / f"{tree.name}-outside"
    outside.mkdir()
    (outside / "5.jpg").touch()
    (tree / "valid" / "more").symlink_to(outside)
    assert len(get_files(tree, followlinks=False)) == 6
    found = get_files(tree)
    assert "valid/more/5.jpg" in names(found, tree) and found == sorted(found) and len(found) == 7


def test_what_is_linked_twice_is_found_once_and_under_its_own_name_first(tree: Path) -> None:
    (tree / "all").symlink_to(tree / "train")  # comes first, but is a link
    assert names(get_files(tree, "jpg"), tree) == ["train/cat/10.jpg", "train/cat/2.JPG"]
    other = tree.parent / f"{tree.name}-links"
    (other / "cat").mkdir(parents=True)
    (other / "dog").symlink_to(tree / "train" / "dog")
    (other / "again").symlink_to(tree / "train" / "dog")
    assert names(get_files(other), other) == ["again/1.png"]


def test_a_link_that_leads_up_is_not_followed_where_a_linked_folder_lies(tree: Path) -> None:
    other = tree.parent / f"{tree.name}-links"
    other.mkdir()
    (other / "dog").symlink_to(tree / "train" / "dog")
    (tree / "train" / "dog" / "up").symlink_to(tree)
    assert names(get_files(other), other) == ["dog/1.png"]


def test_broken_links_and_what_is_no_file_are_left_out(tree: Path) -> None:
    (tree / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tree / "pipe.jpg")
    (tree / "folder.jpg").mkdir()
    (tree / "linked.jpg").symlink_to("cover.gif")
    assert names(get_image_files(tree, recurse=False), tree) == ["cover.gif", "linked.jpg"]


def test_a_folder_that_is_not_there_is_told_with_what_is(tree: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder .*test.*there is .*`train`, `valid`"):
        get_image_files(tree / "test" / "cat")
    with pytest.raises(NotADirectoryError, match="`.*readme.txt` is a file"):
        get_files(tree / "readme.txt")


def test_a_folder_without_images_is_told_with_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no image files in .*, nor any other file; images"):
        get_image_files(tmp_path)
    for name in ("a.csv", "b.csv", "c"):
        (tmp_path / name).touch()
    with pytest.raises(
        FileNotFoundError, match="only 2 files `.csv`, 1 file without an extension; .*[.]jpg"
    ):
        get_image_files(tmp_path)
    images = tmp_path / "sub"
    images.mkdir()
    (images / "1.jpg").touch()
    with pytest.raises(FileNotFoundError, match="folders, which `recurse=True` looks into"):
        get_image_files(tmp_path, recurse=False)
    other = tmp_path / "other"
    other.mkdir()
    (other / "link").symlink_to(images)
    with pytest.raises(FileNotFoundError, match="`followlinks=True`"):
        get_image_files(other, followlinks=False)
    assert len(get_image_files(other)) == 1


def test_image_extensions_are_those_that_pillow_knows_for_the_formats_we_open() -> None:
    formats = {"JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"}
    known = {ext for ext, form in Image.registered_extensions().items() if form in formats}
    assert image_extensions == known


def test_ls_is_in_order_limited_and_without_hidden_entries(tree: Path) -> None:
    assert names(ls(tree), tree) == ["cover.gif", "readme.txt", "train", "valid"]
    assert names(ls(tree, 2), tree) == ["cover.gif", "readme.txt"]
    assert names(ls(tree, extensions="txt"), tree) == ["readme.txt"]
    assert ".cache" in names(ls(tree, hidden=True), tree)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ls(tree / "gone")


def test_hostile_names_come_back_as_they_are_and_do_not_reach_messages(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31m\n").mkdir()
    (tmp_path / "a\x1b[31m\n" / "b\n.jpg").touch()
    assert get_image_files(tmp_path)[0].name == "b\n.jpg"
    with pytest.raises(FileNotFoundError) as caught:
        get_files(tmp_path / "gone")
    assert str(caught.value).isprintable()
