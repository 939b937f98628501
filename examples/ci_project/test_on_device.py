"""What has to hold on every device before ``model.onnx`` is shipped."""

from __future__ import annotations

from edgeloop.interfaces.gate.device import Device


def test_outputs_agree_with_the_reference(device: Device) -> None:
    """The device computes what the reviewed model computed on the host."""
    measured = device.measure("model.onnx", data="shapes.npz", reference="reference.onnx")
    measured.assert_parity()


def test_it_is_not_slower_than_the_reference(device: Device) -> None:
    """Both are measured again, interleaved, so that only the models differ."""
    measured = device.measure("model.onnx", data="shapes.npz", reference="reference.onnx")
    measured.assert_no_regression("reference.onnx", max_slowdown="5%")


def test_it_stays_within_its_budgets(device: Device) -> None:
    """Every bound of edgeloop-budgets.toml that speaks of this device holds."""
    device.assert_budgets("model.onnx", data="shapes.npz", reference="reference.onnx")
