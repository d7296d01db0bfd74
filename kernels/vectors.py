"""Eight whole numbers that one instruction works on, for kernels whose loops are too short to be vectorised.

`load` makes a vector of eight int32 or int64 that stand side by side; +, * and the functions below work lane by
lane, modulo 2**64; `store` puts the lanes into an array of int64. Without AVX-512 LLVM takes two or four instructions
instead, with the same results.
"""

import operator
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import models, overload, register_model

LANES: Final = 8

_LANES: Final = ir.VectorType(ir.IntType(64), LANES)

intrinsic: Any = numba_intrinsic
"""Without its types: a kernel gives such a function one argument less than its definition has."""


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Vector")


VECTOR: Final = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: types.Type) -> None:
        super().__init__(manager, numba_type, _LANES)  # type: ignore[no-untyped-call]


def _address(context: Any, builder: Any, of: Any, array: Any, row: Any) -> Any:
    """Where a row of a two-dimensional array begins."""
    found = context.make_array(of)(context, builder, array)
    width = builder.extract_value(found.shape, 1)
    return builder.gep(found.data, [builder.mul(row, width)])


@intrinsic
def load(context, array, row):  # type: ignore[no-untyped-def] # noqa: ARG001
    """The first eight numbers of array[row], int32 or int64."""

    def generate(target: Any, builder: Any, signature: Any, given: Any) -> Any:
        of = signature.args[0]
        kept = ir.VectorType(ir.IntType(of.dtype.bitwidth), LANES)
        address = _address(target, builder, of, *given)
        value = builder.load(builder.bitcast(address, kept.as_pointer()), align=of.dtype.bitwidth // 8)
        return value if kept == _LANES else builder.sext(value, _LANES)

    return VECTOR(array, types.int64), generate


@intrinsic
def store(context, array, row, vector):  # type: ignore[no-untyped-def] # noqa: ARG001
    """Put the eight lanes into array[row], int64."""

    def generate(target: Any, builder: Any, signature: Any, given: Any) -> Any:
        address = _address(target, builder, signature.args[0], given[0], given[1])
        builder.store(given[2], builder.bitcast(address, _LANES.as_pointer()), align=8)
        return target.get_dummy_value()

    return types.void(array, types.int64, vector), generate


@intrinsic
def same(context, number):  # type: ignore[no-untyped-def] # noqa: ARG001
    """A vector with one number in all lanes."""

    def generate(_target: Any, builder: Any, _signature: Any, given: Any) -> Any:
        one = builder.insert_element(ir.Constant(_LANES, ir.Undefined), given[0], ir.IntType(32)(0))
        return builder.shuffle_vector(
            one,
            ir.Constant(_LANES, ir.Undefined),
            ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES),
        )

    return VECTOR(types.int64), generate


def _of_two(generated: Any) -> Any:
    """An intrinsic of two vectors that gives one."""

    @intrinsic
    def work(context, one, other):  # type: ignore[no-untyped-def] # noqa: ANN202, ARG001
        return VECTOR(VECTOR, VECTOR), lambda _target, builder, _signature, given: generated(builder, *given)

    return work


minimum = _of_two(
    lambda builder, one, other: builder.select(builder.icmp_signed("<", one, other), one, other)
)
maximum = _of_two(
    lambda builder, one, other: builder.select(builder.icmp_signed(">", one, other), one, other)
)
_add = _of_two(lambda builder, one, other: builder.add(one, other))
_multiply = _of_two(lambda builder, one, other: builder.mul(one, other))


def _operate(operation: Any, work: Any) -> None:
    @overload(operation, inline="always")
    def operated(one, other):  # type: ignore[no-untyped-def] # noqa: ANN202
        if one is VECTOR and other is VECTOR:
            return lambda one, other: work(one, other)  # noqa: PLW0108 - Numba compares the names of arguments
        return None


_operate(operator.add, _add)
_operate(operator.mul, _multiply)
