"""Write out the windows of convolutions and poolings: kernel_shape, strides, dilations, pads.

Where the standard and ONNX Runtime differ, ONNX Runtime is followed: SAME padding of a dilated pool is that of a window
that is not dilated, no output_shape is overruled by auto_pad, and SAME makes no transposed convolution larger.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgesparse.errors import FrontendError
from edgesparse.frontend.attributes import size_problems, window_problems
from edgesparse.frontend.shapes import forget_shapes, infer_shapes, static_shape

POOLS = ("MaxPool", "AveragePool", "LpPool")
WINDOWED = ("Conv", "ConvInteger", "ConvTranspose", *POOLS)
SAME = ("SAME_UPPER", "SAME_LOWER")


def resolve_padding(model: ir.Model) -> ir.Model:
    """Write out the windows whose output shapes onnx infers wrong; shapes are inferred anew.

    These are dilated windows under SAME, and transposed convolutions whose padding follows from a size.
    """
    for node in list(model.graph):
        if not node.domain and node.op_type in WINDOWED and _is_misread(node):
            infer_shapes(model)
            if _fits(node):
                explicit_window(node)
            forget_shapes(model)
    return model


def _is_misread(node: ir.Node) -> bool:
    get = node.attributes
    if node.op_type == "ConvTranspose" and "output_shape" in get:
        return True
    dilated = node.op_type == "ConvTranspose" or set(get.get_ints("dilations") or (1,)) != {1}
    return dilated and get.get_string("auto_pad", "") in SAME


def _fits(node: ir.Node) -> bool:
    """Whether the attributes make a valid window; what is wrong with others is reported once shapes are known."""
    data = static_shape(node.inputs[0])
    return data is not None and not any(window_problems(node, data[2:])) and not any(size_problems(node, data))


def explicit_window(node: ir.Node) -> None:
    """Write out kernel_shape, strides, dilations and pads of a convolution or pooling; resolve auto_pad.

    Raises: FrontendError: windows of a pool lie so far apart that SAME means different things.
    """
    data, out = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if data is None or len(data) < 3:
        return
    get, rank = node.attributes, len(data) - 2
    weight = static_shape(node.inputs[1]) if "Conv" in node.op_type else None
    kernel = get.get_ints("kernel_shape") or (weight[2:] if weight else None)
    if kernel is None:
        return
    strides = get.get_ints("strides") or (1,) * rank
    dilations = get.get_ints("dilations") or (1,) * rank
    auto = get.get_string("auto_pad", "NOTSET")
    pads = tuple(get.get_ints("pads") or (0,) * 2 * rank) if auto != "VALID" else (0,) * 2 * rank
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    if node.op_type == "ConvTranspose":
        extra = get.get_ints("output_padding") or (0,) * rank
        wanted = tuple(get.get_ints("output_shape", ()))[-rank:]
        if auto in SAME or wanted:
            sizes = wanted or [size * stride for size, stride in zip(data[2:], strides, strict=True)]
            zipped = zip(data[2:], sizes, strides, spans, extra, strict=True)
            totals = [stride * (i - 1) + e + span - o for i, o, stride, span, e in zipped]
            if wanted:
                extra = tuple(e + max(0, -total) for e, total in zip(extra, totals, strict=True))
            pads = _split_pads([max(0, total) for total in totals], more_first=auto != "SAME_UPPER")
        get.pop("output_shape", None)
        get["output_padding"] = ir.AttrInt64s("output_padding", tuple(extra))
    elif auto in SAME:
        widths = kernel if node.op_type in POOLS else spans
        totals = [
            (-(-i // stride) - 1) * stride + width - i
            for i, stride, width in zip(data[2:], strides, widths, strict=True)
        ]
        if node.op_type in POOLS and min(totals) < (-1 if tuple(spans) == tuple(kernel) else 0):
            raise FrontendError(
                f"{node.op_type} {node.name!r}: {auto} of windows {list(kernel)} that are {list(strides)} apart "
                "means different things to different runtimes; write pads"
            )
        pads = _split_pads([max(0, total) for total in totals], more_first=auto == "SAME_LOWER")
    get.pop("auto_pad", None)
    for name, values in (("kernel_shape", kernel), ("strides", strides), ("pads", pads)):
        get[name] = ir.AttrInt64s(name, tuple(values))
    if node.op_type in ("Conv", "ConvInteger", "ConvTranspose") or "dilations" in get:
        get["dilations"] = ir.AttrInt64s("dilations", tuple(dilations))
    if get.get_int("ceil_mode", 0) and out is not None and auto not in SAME:
        _cover(node, data[2:], out[2:], spans)


def _cover(node: ir.Node, data: Sequence[int], out: Sequence[int], spans: Sequence[int]) -> None:
    """Pad the end so far that the last window of ceil_mode fits; not where that would count in a mean."""
    get, rank = node.attributes, len(data)
    pads, strides = get.get_ints("pads") or (), get.get_ints("strides") or ()
    zipped = zip(data, out, strides, spans, pads[:rank], pads[rank:], strict=True)
    ends = [max(end, (o - 1) * stride + span - i - begin) for i, o, stride, span, begin, end in zipped]
    if get.get_int("count_include_pad", 0) and tuple(ends) != tuple(pads[rank:]):
        return
    get["pads"] = ir.AttrInt64s("pads", (*pads[:rank], *ends))
    get["ceil_mode"] = ir.AttrInt64("ceil_mode", 0)


def global_pool(node: ir.Node) -> None:
    """A pool whose one window covers the whole unpadded image is the global pool, which sums more accurately.

    What lies behind the image does not count.
    """
    data, out = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if node.op_type not in ("AveragePool", "MaxPool") or data is None or out is None or len(node.outputs) > 1:
        return
    get, rank = node.attributes.get_ints, len(data) - 2
    whole = all(k >= size for k, size in zip(get("kernel_shape", (0,) * rank), data[2:], strict=True))
    pads = get("pads", ())
    counted = node.attributes.get_int("count_include_pad", 0) and any(pads)
    if whole and set(out[2:]) == {1} and not any(pads[:rank]) and not counted and set(get("dilations", (1,))) == {1}:
        node.op_type = f"Global{node.op_type}"
        node.attributes.clear()


def _split_pads(totals: Sequence[int], *, more_first: bool) -> tuple[int, ...]:
    small = [total // 2 for total in totals]
    large = [total - half for total, half in zip(totals, small, strict=True)]
    return tuple(large + small) if more_first else tuple(small + large)
