# Runs once, after the modules that every episode starts with are imported, and leaves no name
# behind. What is used often is used here first: the interpreter has then looked up, filled and
# specialised what it does on first use, and no episode pays for that again.


def _use():
    import io
    import sys

    pandas = sys.modules.get("pandas")
    if pandas is None:
        return
    for _ in range(20):
        frame = pandas.DataFrame({"a": range(20), "b": ["x", "y"] * 10})
        frame["c"] = frame.a * 0.5
        repr(frame), repr(frame.a), repr(frame.b)
        frame.a.sum(), frame.c.mean(), frame.a.max(), len(frame[frame.a > 3])
        frame.groupby("b").a.sum(), frame.sort_values("a"), frame.b.value_counts()
        frame.head(), frame.isna().sum(), frame.merge(frame, on="a")
        pandas.Series([1, 2]).sum()
        pandas.read_csv(io.StringIO("a,b\n1,x\n2.5,y\n"))


_use()
del _use

# What is there by now is not looked at again when garbage is collected, which would touch all
# of its memory.
import gc as _gc

_gc.collect()
_gc.freeze()
del _gc
