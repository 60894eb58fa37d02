def _plumb_tests(setup, program, tests):
    """Runs a program and then its tests; says how many of them pass, of how many."""
    import builtins, contextlib, io, sys, types

    run, make, error = builtins.exec, builtins.compile, builtins.BaseException
    module = types.ModuleType("answer")
    sys.modules["answer"] = module
    passed, first = 0, None
    with contextlib.redirect_stdout(io.StringIO()):
        for name, code in [("setup", setup), ("answer", program)]:
            try:
                run(make(code, name, "exec", dont_inherit=True), module.__dict__)
            except error as failure:
                first = "%s: %s: %s" % (name, type(failure).__name__, failure)
                break
        else:
            for number, test in enumerate(tests, 1):
                try:
                    run(make(test, "test", "exec", dont_inherit=True), module.__dict__)
                    passed += 1
                except error as failure:
                    told = "%s: %s" % (type(failure).__name__, failure)
                    first = first or "test %d: %s" % (number, told.rstrip(": "))
    if first is not None:
        print(first[:400])
    return [passed, len(tests)]
