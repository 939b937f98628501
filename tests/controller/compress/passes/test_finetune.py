from __future__ import annotations

import pytest
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import InternalError, InvalidInputError, NotFoundError, UnsupportedError

pytestmark = pytest.mark.filterwarnings("ignore")


def test_what_it_lacks_is_named(zoo, load, tmp_path):
    source = load(zoo.cnn(tmp_path / "m.onnx"))
    context = PassContext(work_directory=tmp_path)
    with pytest.raises(UnsupportedError, match="Name a function that returns \\(module, example inputs\\)"):
        make_pass(PassSpec.of("finetune", train="a.py:b")).check(source.description, context)
    context = PassContext(work_directory=tmp_path, module=tmp_path / "module.pt")
    with pytest.raises(UnsupportedError, match="Give --train"):
        make_pass(PassSpec.of("finetune")).check(source.description, context)
    with pytest.raises(InvalidInputError, match="epochs is 1 to 10000, not 0"):
        make_pass(PassSpec.of("finetune", epochs=0))


def test_the_users_code_is_part_of_what_decides(tmp_path):
    (tmp_path / "u.py").write_text("a = 1")
    step = make_pass(PassSpec.of("finetune", train=f"{tmp_path / 'u.py'}:f"))
    before = step.fingerprint()
    assert step.fingerprint() == before
    (tmp_path / "u.py").write_text("a = 2")
    assert step.fingerprint() != before


@pytest.mark.needs_torch
def test_it_heals_what_was_damaged(transform, module_context):
    import torch
    from edgeloop.compress.training.module import load_trainable

    given = load_trainable(module_context.module)
    with torch.no_grad():
        given.net.head.weight.copy_(given.net.head.weight.roll(1, 0))
    _, notes = transform("finetune", given, epochs=4, learning_rate=0.05, batch_size=32)
    before, after = (float(notes[-1].split()[place]) for place in (2, 4))
    assert before < 0.3
    assert after > 0.5


@pytest.mark.needs_torch
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"train": "wrong_labels", "validate": ""},
            InvalidInputError,
            "label 6 does not fit outputs of shape",
        ),
        ({"train": "wrong_shape", "validate": ""}, InvalidInputError, r"\[2, 3, 8, 8\], do not go through"),
        ({"train": "empty"}, InvalidInputError, "gave no batch in epoch 1"),
        ({"train": "absent"}, NotFoundError, "has no function 'absent'"),
        ({"loss": "diverging"}, InternalError, "a lower learning_rate may help"),
    ],
)
def test_bad_input_is_one_sentence(transform, trained_net, settings, error, message):
    settings = {name: trained_net(value) if value else "" for name, value in settings.items()}
    with pytest.raises(error, match=message):
        transform("finetune", **settings)


@pytest.mark.needs_torch
def test_the_users_loss_decides(transform, trained_net):
    _, notes = transform("finetune", epochs=1, loss=trained_net("own_loss"))
    assert "score -" in notes[-1]
