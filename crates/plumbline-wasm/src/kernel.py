# Runs once, before the first cell: makes the module `_plumbline`, whose `run` runs a cell.
# It holds on to what it needs, so that a cell which tears builtins apart is still reported.


def _make():
    import ast
    import builtins
    import errno
    import io
    import linecache
    import os
    import sys
    import traceback
    import types

    import _host
    import _json
    import _reactor

    BaseException, MemoryError, SyntaxError = (
        builtins.BaseException,
        builtins.MemoryError,
        builtins.SyntaxError,
    )
    FileNotFoundError, OSError = builtins.FileNotFoundError, builtins.OSError
    compile, exec, eval, repr, str, type = (
        builtins.compile,
        builtins.exec,
        builtins.eval,
        builtins.repr,
        builtins.str,
        builtins.type,
    )
    dict, int, isinstance, len, getattr, setattr = (
        builtins.dict,
        builtins.int,
        builtins.isinstance,
        builtins.len,
        builtins.getattr,
        builtins.setattr,
    )
    door, quoted = _host.call, _json.encode_basestring_ascii
    Expr, Expression, TREE = ast.Expr, ast.Expression, ast.PyCF_ONLY_AST
    TracebackException, cache = traceback.TracebackException, linecache.cache
    ENOSPC = errno.ENOSPC
    walk, modules, listing = os.walk, sys.modules, os.path

    def stream(fd):
        raw = io.FileIO(fd, "w", closefd=False)
        buffered = io.BufferedWriter(raw, 65536)
        errors = "strict" if fd == 1 else "backslashreplace"
        return io.TextIOWrapper(buffered, "utf-8", errors, "\n")

    def settle():
        """Gives the next cell streams that are open, and shows what this one printed."""
        for name, fd in (("stdout", 1), ("stderr", 2)):
            for each in {getattr(sys, name, None), getattr(sys, "__%s__" % name, None)}:
                try:
                    each.flush()
                except BaseException:
                    pass
            try:
                sound = not getattr(sys, "__%s__" % name).closed
            except BaseException:
                sound = False
            if not sound:
                setattr(sys, "__%s__" % name, stream(fd))
            setattr(sys, name, getattr(sys, "__%s__" % name))

    def mend():
        """Puts back what the next cell cannot be run without."""
        for name, value in kept:
            names.setdefault(name, value)
        names["__import__"] = importer
        for space, contents in spaces:
            space.update(contents)
        modules["__main__"], modules["_plumbline"] = main, kernel
        modules["builtins"], modules["sys"] = builtins, sys
        modules["_reactor"], modules["ast"] = _reactor, ast
        kernel.run = run

    def clean(text):
        """Text that can be written down: half of a surrogate pair cannot."""
        return text.encode("utf-8", "backslashreplace").decode()

    def steps(trace, name):
        """The traceback from the first frame that is the cell's own, and the cell's line."""
        while trace is not None and trace.tb_frame.f_code is run.__code__:
            trace = trace.tb_next
        line, here = None, trace
        while here is not None:
            if here.tb_frame.f_code.co_filename == name:
                line = here.tb_lineno
            here = here.tb_next
        return trace, line

    def nearby(error):
        """Where a file that was not found may be meant to lie."""
        try:
            wanted = listing.basename(str(error.filename))
            for folder, _, names in walk("/data"):
                if wanted in names:
                    return "; there is %s" % listing.join(folder, wanted)
        except BaseException:
            pass
        return ""

    def limit(error):
        """Which of the sandbox's bounds the error says was reached."""
        if isinstance(error, MemoryError):
            return "memory"
        if isinstance(error, OSError) and error.errno == ENOSPC:
            return "files"
        return None

    def describe(error, name, chars_max):
        trace, line = steps(error.__traceback__, name)
        if line is None and isinstance(error, SyntaxError):
            # The cell was not even begun: the frames are those of the parser.
            trace, line = None, error.lineno
        try:
            message = str(error)
        except BaseException:
            message = "<no message>"
        hint = nearby(error) if isinstance(error, FileNotFoundError) else ""
        try:
            told = TracebackException(type(error), error, trace, compact=True)
            text = "".join(told.format()).rstrip("\n")
        except BaseException:
            text = "%s: %s" % (type(error).__name__, message)
        return {
            "type": type(error).__name__,
            "message": clean((message + hint)[:chars_max]),
            "line": line,
            "limit": limit(error),
            "traceback": clean((text + hint)[-chars_max:]),
        }

    def written(value):
        """A value as JSON, by functions in C alone: no cell can take them apart."""
        if value is None:
            return "null"
        if isinstance(value, dict):
            pairs = ["%s: %s" % (quoted(key), written(each)) for key, each in value.items()]
            return "{%s}" % ", ".join(pairs)
        return quoted(value) if isinstance(value, str) else "%d" % value

    def run():
        name, chars_max, code = door(b"plumbline cell").decode().split("\0", 2)
        chars_max = int(chars_max)
        space = main.__dict__
        cache[name] = (len(code), None, code.splitlines(True), name)
        echo = exception = None
        try:
            tree = compile(code, name, "exec", TREE, dont_inherit=True)
            last = None
            if tree.body and isinstance(tree.body[-1], Expr):
                last = tree.body.pop().value
            exec(compile(tree, name, "exec", dont_inherit=True), space)
            if last is not None:
                tree = Expression(last)
                value = eval(compile(tree, name, "eval", dont_inherit=True), space)
                if value is not None:
                    space["_"] = value
                    echo = repr(value)
        except BaseException as error:
            exception = describe(error, name, chars_max)
            error.__traceback__ = None
        mend()
        settle()
        if echo is not None:
            more = len(echo) - chars_max
            echo = clean(echo[:chars_max])
            if more > 0:
                echo += "\n[cut: %d more characters]" % more
        report = {"echo": echo, "exception": exception}
        door(b"plumbline done " + written(report).encode())

    main = types.ModuleType("__main__")
    main.__builtins__ = builtins
    kernel = types.ModuleType("_plumbline")
    names = builtins.__dict__
    kept, importer = list(names.items()), builtins.__import__
    spaces = [(each.__dict__, dict(each.__dict__)) for each in (_reactor, ast)]
    mend()
    os.chdir("/scratch")
    sys.path.insert(0, "/scratch")
    settle()


_make()
del _make
