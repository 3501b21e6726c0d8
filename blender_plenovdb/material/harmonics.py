"""Real spherical harmonics of degree 0 to 3 as nodes: constants and order of the VDB contract."""

from __future__ import annotations

from .tree import Socket, TreeWriter, Value

Y0 = 0.28209479177387814
Y1 = 0.4886025119029199
Y2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
Y3 = (
    -0.5900435899266435,
    2.890611442640554,
    -0.4570457994644658,
    0.3731763325901154,
    -0.4570457994644658,
    1.445305721320277,
    -0.5900435899266435,
)


def basis(write: TreeWriter, direction: Socket, degree: int) -> list[Value]:
    """Y_0 ... Y_n of a unit vector, n = (degree + 1)^2 - 1. The direction is the ray's, away from the camera."""
    values: list[Value] = [(Y0, Y0, Y0)]
    if degree == 0:
        return values
    x, y, z = write.separate(direction)
    with write.frame("Harmonics of degree 1"):
        values += [
            write.product(y, -Y1, label="Y1"),
            write.product(z, Y1, label="Y2"),
            write.product(x, -Y1, label="Y3"),
        ]
    if degree == 1:
        return values
    with write.frame("Products"):
        xx, yy, zz = (write.product(a, a, label=name) for a, name in ((x, "xx"), (y, "yy"), (z, "zz")))
        xy, yz, xz = (write.product(a, b, label=name) for a, b, name in ((x, y, "xy"), (y, z, "yz"), (x, z, "xz")))
        difference = write.math("SUBTRACT", xx, yy, label="xx - yy")
        total = write.math("ADD", xx, yy, label="xx + yy")
    with write.frame("Harmonics of degree 2"):
        values += [
            write.product(xy, Y2[0], label="Y4"),
            write.product(yz, Y2[1], label="Y5"),
            write.product(write.math("MULTIPLY_ADD", zz, 2.0, write.product(total, -1.0)), Y2[2], label="Y6"),
            write.product(xz, Y2[3], label="Y7"),
            write.product(difference, Y2[4], label="Y8"),
        ]
    if degree == 2:
        return values
    with write.frame("Harmonics of degree 3"):
        minus_yy = write.product(yy, -1.0)
        three_xx = write.math("MULTIPLY_ADD", xx, 3.0, minus_yy, label="3xx - yy")
        four_zz = write.math("MULTIPLY_ADD", zz, 4.0, write.product(total, -1.0), label="4zz - xx - yy")
        two_zz = write.math("MULTIPLY_ADD", total, -3.0, write.product(zz, 2.0), label="2zz - 3xx - 3yy")
        three_yy = write.math("MULTIPLY_ADD", yy, -3.0, xx, label="xx - 3yy")
        values += [
            write.product(y, three_xx, Y3[0], label="Y9"),
            write.product(xy, z, Y3[1], label="Y10"),
            write.product(y, four_zz, Y3[2], label="Y11"),
            write.product(z, two_zz, Y3[3], label="Y12"),
            write.product(x, four_zz, Y3[4], label="Y13"),
            write.product(z, difference, Y3[5], label="Y14"),
            write.product(x, three_yy, Y3[6], label="Y15"),
        ]
    return values
