"""Whether the processor at hand can run what Numba compiles for a forced one. A program of its own:

    python forced_processor.py NAME FEATURES

since LLVM ends a process whose processor it cannot make sense of. It prints nothing if all is well.
"""

import sys

from llvmlite import binding

# What a compiler writes otherwise where it knows a processor to have more.
ASK = """
define <16 x float> @floats(<16 x float> %a, <16 x float> %b, <16 x float> %c) {
  %r = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
  ret <16 x float> %r
}
define <16 x i32> @integers(<16 x i32> %a, <16 x i32> %b) {
  %p = mul <16 x i32> %a, %b
  %r = shl <16 x i32> %p, %b
  ret <16 x i32> %r
}
define <8 x i64> @longs(<8 x i64> %a, <8 x i64> %b) {
  %r = mul <8 x i64> %a, %b
  ret <8 x i64> %r
}
define <64 x i8> @bytes(<64 x i8> %a, <64 x i8> %b) {
  %r = add <64 x i8> %a, %b
  ret <64 x i8> %r
}
define double @number(double %a) {
  %r = call double @llvm.floor.f64(double %a)
  ret double %r
}
define i64 @bits(i64 %a, i64 %b) {
  %s = shl i64 %a, %b
  %n = xor i64 %b, -1
  %t = and i64 %s, %n
  %z = call i64 @llvm.cttz.i64(i64 %t, i1 false)
  %l = call i64 @llvm.ctlz.i64(i64 %z, i1 false)
  %r = call i64 @llvm.ctpop.i64(i64 %l)
  ret i64 %r
}
define i64 @together(i64* %p, i64 %v) {
  %r = atomicrmw add i64* %p, i64 %v seq_cst
  ret i64 %r
}
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
declare double @llvm.floor.f64(double)
declare i64 @llvm.cttz.i64(i64, i1)
declare i64 @llvm.ctlz.i64(i64, i1)
declare i64 @llvm.ctpop.i64(i64)
"""


def main(name: str, features: str) -> None:
    """Compile it twice, the second time without anything that this processor lacks."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    try:
        host = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know what it has
        host = {}
    lacks = [f"-{feature}" for feature, has in host.items() if not has]
    target = binding.Target.from_default_triple()
    code = []
    for has in (features, ",".join([*filter(None, [features]), *lacks])):
        machine = target.create_target_machine(name, has, 2)
        code.append(machine.emit_assembly(binding.parse_assembly(ASK)))
    if code[0] != code[1]:
        print("more than this processor has")


if __name__ == "__main__":
    main(*sys.argv[1:])
