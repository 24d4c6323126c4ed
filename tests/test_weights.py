"""Pretrained weights: which, from where, into what; and that loading them runs no code."""

import hashlib
import http.server
import os
import pickle
import shutil
import threading
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models import (
    DenseNet,
    ResNet18_Weights,
    SqueezeNet1_1_Weights,
    get_model,
    squeezenet1_1,
)

from learnlite import tensor_file
from learnlite.data.download import DownloadError
from learnlite.vision.models.arch import find_architecture
from learnlite.vision.models.build import choose, create_vision_model
from learnlite.vision.models.weights import fetched, find_weights, load_into, read_weights

SQUEEZENET = find_architecture("torchvision/squeezenet1_1")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        self.server.asked.append(args[0])


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of the folder `tmp_path/served`; `.url` and `.asked`, its requests."""
    monkeypatch.setenv("no_proxy", "*")
    (tmp_path / "served").mkdir()
    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def checkpoints(tmp_path):
    folder = tmp_path / "home" / "torch" / "hub" / "checkpoints"  # TORCH_HOME of conftest
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def trained():
    """Weights of squeezenet1_1 that nobody else has."""
    torch.manual_seed(1)
    return squeezenet1_1().state_dict()


def served(tmp_path, state, name="net", right=True):
    """Save weights to be served, under a name with the hash of the file, or with another."""
    file = tmp_path / "served" / "file"
    torch.save(state, file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if right else "0" * 64
    return shutil.move(file, file.with_name(f"{name}-{digest[:8]}.pth"))


def body_equals(model, state):
    ours = model[0].state_dict()
    return all(torch.equal(value, state[name]) for name, value in ours.items())


# --- which weights


def test_the_best_weights_of_torchvision_come_with_their_images_statistics_and_size():
    best = find_weights(SQUEEZENET, True)
    prepared = SqueezeNet1_1_Weights.DEFAULT.transforms()
    assert best.label == SqueezeNet1_1_Weights.DEFAULT.name
    assert best.stats == (tuple(prepared.mean), tuple(prepared.std))
    assert best.size == prepared.crop_size[0]


@pytest.mark.parametrize(
    "weights",
    ["IMAGENET1K_V1", "SqueezeNet1_1_Weights.IMAGENET1K_V1", "DEFAULT",
     SqueezeNet1_1_Weights.IMAGENET1K_V1],
)  # fmt: skip
def test_weights_are_named_as_torchvision_names_them(weights):
    assert find_weights(SQUEEZENET, True, weights).label == "IMAGENET1K_V1"


@pytest.mark.parametrize(
    ("arch", "expected"),
    [
        ("vit_b_32", {"image_size": 224}),
        ("maxvit_t", {"input_size": [224, 224]}),
        ("googlenet", {"transform_input": True, "init_weights": False}),
        ("resnet18", {}),
    ],
)
def test_a_network_is_made_as_its_weights_need_it(arch, expected):
    assert find_weights(find_architecture(f"torchvision/{arch}"), True).options == expected


def test_larger_weights_make_a_vision_transformer_for_larger_images():
    vit = find_architecture("torchvision/vit_b_16")
    assert find_weights(vit, True, "IMAGENET1K_SWAG_E2E_V1").options == {"image_size": 384}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            "IMAGENET1K_V7",
            r'no weights `IMAGENET1K_V7`, nor such a file; there are "IMAGENET1K_V1"',
        ),
        (ResNet18_Weights.DEFAULT, r"are not for `squeezenet1_1`; its own are \"IMAGENET1K_V1\""),
        ("no/such.pth", r"there is no file of weights `no.such\.pth` for `squeezenet1_1`"),
    ],
)
def test_weights_that_are_not_there_are_told(weights, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        find_weights(SQUEEZENET, True, weights)


def test_weights_and_no_weights_are_not_asked_for_together():
    with pytest.raises(ValueError, match=r"`weights` and `pretrained=False` say two things"):
        choose("torchvision/squeezenet1_1", pretrained=False, weights="DEFAULT")
    with pytest.raises(TypeError, match=r"name weights by `weights='DEFAULT'`"):
        choose("torchvision/squeezenet1_1", pretrained="DEFAULT")


def test_an_architecture_without_weights_says_so():
    with pytest.raises(ValueError, match=r"no pretrained weights for `xresnet18`; train it with"):
        choose("xresnet18")


def test_a_function_that_loads_weights_by_itself_is_asked_to():
    asked = []

    def make(pretrained=False):
        asked.append(pretrained)
        return squeezenet1_1()

    create_vision_model(make, 2)
    create_vision_model(make, 2, pretrained=False)
    assert asked == [True, False]


# --- from where


def test_weights_are_downloaded_once_checked_and_kept_where_torchvision_keeps_them(
    tmp_path, server, checkpoints, trained
):
    file = served(tmp_path, trained)
    for _ in range(2):
        model = create_vision_model(squeezenet1_1, 2, weights=f"{server.url}/{file.name}")
        assert body_equals(model, trained)
    assert [entry.name for entry in checkpoints.iterdir()] == [file.name]
    assert len(server.asked) == 1


def test_a_download_that_does_not_have_the_hash_of_its_name_is_refused(
    tmp_path, server, checkpoints, trained
):
    file = served(tmp_path, trained, right=False)
    message = r"00000000, or how it begins, was expected.*or start without them: `pretrained=False`"
    with pytest.raises(DownloadError, match=message):
        fetched(f"{server.url}/{file.name}")
    assert not (checkpoints / file.name).exists()


def test_a_file_that_is_there_is_loaded_whatever_its_hash(checkpoints, trained):
    half = {name: value.half() for name, value in trained.items()}
    torch.save(half, checkpoints / "squeezenet1_1-b8a52dc0.pth")  # the name in torchvision's enum
    model = create_vision_model(squeezenet1_1, 2)
    assert body_equals(model, {name: value.float() for name, value in half.items()})


def test_weights_that_cannot_be_had_say_which_file_goes_where_and_the_way_out(checkpoints):
    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as gone:
        url = f"http://127.0.0.1:{gone.server_port}/net-12345678.pth"
    with pytest.raises(DownloadError) as caught:
        create_vision_model(squeezenet1_1, 2, weights=url)
    told = str(caught.value)
    for part in (url, "net-12345678.pth", str(checkpoints), "`pretrained=False`"):
        assert part in told


# --- of what kind


def forms(state):
    return {
        "plain": state,
        "of a training script": {"epoch": 3, "state_dict": state},
        "of learn.save": {"model": state, "opt": None, "opt_name": None},
        "of several processes": {f"module.{name}": value for name, value in state.items()},
        "of a network inside another": {f"0.{name}": value for name, value in state.items()},
    }


@pytest.mark.parametrize("form", forms({}))
def test_a_file_of_weights_is_read_in_the_usual_forms(tmp_path, trained, form):
    torch.save(forms(trained)[form], tmp_path / "mine.pth")
    model = create_vision_model(squeezenet1_1, 2, weights=tmp_path / "mine.pth")
    assert body_equals(model, trained)


def test_safetensors_and_dicts_are_weights_too(tmp_path, trained):
    tensor_file.write(tmp_path / "mine.safetensors", trained, {})
    for weights in (str(tmp_path / "mine.safetensors"), trained):
        assert body_equals(create_vision_model(squeezenet1_1, 2, weights=weights), trained)


def test_weights_of_a_body_alone_are_enough(trained):
    body = {name: value for name, value in trained.items() if name.startswith("features")}
    assert body_equals(create_vision_model(squeezenet1_1, 2, weights=body), trained)


def test_densenets_old_names_are_understood():
    def densenet():
        return DenseNet(4, (2, 2), 8)

    state = densenet().state_dict()
    assert any(".norm1." in name for name in state)
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value
        for name, value in state.items()
    }
    assert body_equals(create_vision_model(densenet, 2, weights=old), state)


def test_weights_of_another_network_are_refused():
    other = get_model("squeezenet1_0").state_dict()
    with pytest.raises(ValueError, match=r"that were given do not fit `SqueezeNet`: .*`features"):
        create_vision_model(squeezenet1_1, 2, weights=other)
    with pytest.raises(ValueError, match=r"`weights` holds no tensors by name"):
        create_vision_model(squeezenet1_1, 2, weights={"a": 1})
    net = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"`weight` is \(1, 3\) there, \(1, 2\) in the network"):
        load_into(net, net, {"weight": torch.zeros(1, 3), "bias": torch.zeros(1)}, "")


def test_the_first_convolution_of_grey_images_starts_from_weights_for_colours(trained):
    model = create_vision_model(squeezenet1_1, 2, weights=trained, n_in=1)
    first = trained["features.0.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(model[0][0][0].weight, first)
    assert torch.equal(model[0][0][0].bias, trained["features.0.bias"])


# --- hostile files


class Runs:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.system, (f"touch {self.marker}",))


@pytest.mark.parametrize("how", ["pickle", "torch", "nested"])
def test_a_file_in_the_cache_that_holds_code_is_refused(tmp_path, checkpoints, how):
    marker = tmp_path / "ran"
    file = checkpoints / "squeezenet1_1-b8a52dc0.pth"
    if how == "pickle":
        file.write_bytes(pickle.dumps(Runs(marker)))
    else:
        torch.save({"features.0.weight": Runs(marker)} if how == "nested" else Runs(marker), file)
    with pytest.raises(ValueError, match=r"more than tensors.*delete it, and the next call down"):
        create_vision_model(squeezenet1_1, 2)
    assert not marker.exists()


@pytest.mark.parametrize("data", [b"", b"<html>", b"PK\x03\x04" + bytes(100), bytes(1000)])
def test_a_damaged_file_is_told(tmp_path, data):
    file = tmp_path / "net.pth"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"net\.pth does not load as weights"):
        read_weights(file)


@pytest.mark.parametrize("option", ["weights", "pretrained", "checkpoint_path", "weights_backbone"])
def test_a_recipe_cannot_make_torchvision_load_anything(option):
    spec = {"name": "torchvision/resnet18", "args": {option: "DEFAULT"}}
    with pytest.raises(ValueError, match=rf"`{option}` is no option of the architecture"):
        find_architecture(spec)


def test_the_real_weights_that_do_not_match_their_hash_load(test_data, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(test_data / "torch_home"))
    model = create_vision_model(squeezenet1_1, 2)
    assert model[0][0][0].weight.std() > 0.1  # trained filters, not those of a new network
