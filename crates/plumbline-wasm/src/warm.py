# Runs once, after the modules that every episode starts with are imported: what they hold
# is not looked at again when garbage is collected, which would touch all of their memory.
import gc as _gc

_gc.collect()
_gc.freeze()
del _gc
