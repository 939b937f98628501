from __future__ import annotations

import re

import pytest
from edgeloop.compress.describe import describe
from edgeloop.compress.passes import make_pass
from edgeloop.compress.passes.base import PassContext
from edgeloop.compress.passes.distill import feature_loss, response_loss
from edgeloop.compress.runtime import open_session
from edgeloop.compress.training.export import export_onnx
from edgeloop.compress.training.module import build_trainable, load_trainable, module_beside, save_trainable
from edgeloop.domain.recipe import PassSpec
from edgeloop_foundation.errors import InvalidInputError

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.needs_torch]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="the torch extra is not installed")


def test_the_response_loss_is_the_scaled_divergence(torch):
    teacher, student = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    assert response_loss(teacher, teacher, 4.0) == pytest.approx(0, abs=1e-6)
    p, q = torch.softmax(teacher / 4, 1), torch.softmax(student / 4, 1)
    wanted = 16 * (p * (p / q).log()).sum()
    assert float(response_loss(student, teacher, 4.0)) == pytest.approx(float(wanted), rel=1e-5)
    assert float(response_loss(torch.tensor([1.0]), torch.tensor([3.0]), 4.0)) == 4.0
    with pytest.raises(InvalidInputError, match="Both need the same outputs"):
        response_loss(torch.zeros(1, 3), teacher, 4.0)


def test_the_feature_loss_does_not_depend_on_the_scale(torch):
    mine, theirs = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    assert float(feature_loss(mine, theirs)) == pytest.approx(
        float(feature_loss(mine * 9, theirs * 9)), rel=1e-3
    )


def agreement(torch, net, teacher, images):
    with torch.no_grad():
        return float((net(images).argmax(1) == teacher(images).argmax(1)).float().mean())


@pytest.mark.parametrize("kind", ["response", "feature"])
def test_a_student_learns_from_decisions_alone(torch, transform, trained_net, kind):
    """The labels take no part: what the student knows, it has from the teacher."""
    teacher, student = build_trainable(trained_net("model")).net, build_trainable(trained_net("student")).net
    images = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    before = agreement(torch, student, teacher, images)
    made, notes = transform(
        "distill",
        student=trained_net("student"),
        kind=kind,
        share=1.0,
        epochs=6,
        learning_rate=0.1,
        batch_size=32,
    )
    assert agreement(torch, made.net, teacher, images) > max(before, 0.5)
    assert made.net.second.out_channels == 8
    assert ("inner layers" in notes[-1]) == (kind == "feature")


def test_layers_that_are_not_there_are_named(transform):
    with pytest.raises(InvalidInputError, match="the student has no layer 'none'"):
        transform("distill", kind="feature", layers=["none"])


def test_it_stops_when_nothing_gets_better(transform):
    _, notes = transform("distill", epochs=9, patience=2, learning_rate=1e-8)
    # Statistics of the batches move on all the same, and may make it better at first.
    assert any(re.fullmatch(r"stopped after epoch [2-6] of 9: no better for 2", note) for note in notes)


def test_of_numbers_that_decide_nothing_the_numbers_are_learnt(torch, transform, trained_net):
    """A divergence of decisions would be content with any outputs that are off by as much everywhere."""
    teacher = build_trainable(trained_net("model")).net
    images = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    data = {name: trained_net(f"unlabelled_{name}") for name in ("data", "validation")}
    made, _ = transform(
        "distill",
        train=data["data"],
        validate=data["validation"],
        student=trained_net("shifted_student"),
        share=1.0,
        epochs=6,
        learning_rate=0.01,
        batch_size=32,
    )
    with torch.no_grad():
        off = (made.net(images) - teacher(images)).mean()
    assert abs(float(off)) < 1.0


@pytest.mark.parametrize("student", ["flat", "deeper"])
def test_a_student_of_another_depth_answers_under_the_original_names(torch, trained_net, tmp_path, student):
    """The exporter numbers its operators, and an output has the name of the last one."""
    source, made = tmp_path / "source.onnx", tmp_path / "made.onnx"
    original = build_trainable(trained_net("deep"))
    export_onnx(original, source)
    save_trainable(original, module_beside(source))
    known = describe(source, "source", ())
    assert known.outputs[0].name.startswith("div_")
    context = PassContext(
        work_directory=tmp_path, module=module_beside(source), original_module=module_beside(source)
    )
    step = make_pass(
        PassSpec.of(
            "distill",
            student=trained_net(student),
            train=trained_net("unlabelled_data"),
            validate=trained_net("unlabelled_validation"),
            epochs=1,
            threads=1,
        )
    )
    result = step.run(source, made, context, known)
    assert result.description.outputs == known.outputs
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(5))
    learnt = load_trainable(module_beside(made)).net
    (said,) = open_session(made).run(None, {known.inputs[0].name: images.numpy()})
    with torch.no_grad():
        assert said == pytest.approx(learnt(images).numpy(), abs=1e-5)
