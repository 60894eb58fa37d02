def _plumb_probe(earlier, cells):
    """Runs cells and prints, as JSON, what is suspicious about them and their results.

    `earlier` are the cells that led to this state; they are read, not run.
    """
    import ast, builtins, contextlib, io, json, os, re, sys

    space, out = globals(), sys.stdout
    pandas = sys.modules.get("pandas")
    report = {key: [] for key in (
        "reads", "unused", "literals", "shadowed", "discarded", "chained", "overwritten",
        "empty", "lost", "exploded", "nan", "written", "opened")}
    report.update(exception=None, looks=True, claims=False, outputs=0, grounded=0)
    LOOKS = set("""head tail sample describe info columns dtypes dtype shape index size ndim
        value_counts unique nunique isna isnull notna duplicated memory_usage keys values
        tolist to_string sum mean any all len list print sorted set type dir read_csv
        listdir glob exists display""".split())
    GLANCE = set("""head tail sample describe info print to_string len list display""".split())
    CONVERTS = set("""to_numeric to_datetime to_timedelta map extract apply""".split())
    PURE = set("""dropna fillna drop_duplicates drop replace rename sort_values sort_index
        astype reset_index set_index merge join query assign clip round map apply strip lower
        title""".split())

    def frame(value):
        return pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series))

    def parsed(code):
        try:
            return ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

    def names(node):
        return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}

    def called(node):
        f = node.func
        return f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "")

    def paths(node):
        """Files that an expression reads, `?` for one whose name is computed. Text written into
        the code is none, nor is a file that was written before anything was read."""
        inline = {id(part) for call in ast.walk(node) if isinstance(call, ast.Call)
                  and called(call) in ("StringIO", "BytesIO") for part in ast.walk(call)}
        for call in ast.walk(node):
            # What a cell defines is known by what stands in it, whatever it is called.
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") not in defined and (
                    called(call).startswith("read") or called(call) in (
                    "open", "genfromtxt", "loadtxt", "Path", "DictReader")):
                texts = [arg.value for arg in ast.walk(call) if isinstance(arg, ast.Constant)
                         and isinstance(arg.value, str) and id(arg) not in inline]
                found = [text.rsplit("/", 1)[-1] for text in texts
                         if "." in text and "\n" not in text]
                if called(call) == "open" and {"w", "a", "x"} & set(texts) and not tainted:
                    own.update(found)
                yield from (name for name in found if name not in own)
                named = [part for arg in call.args for part in ast.walk(arg)
                         if isinstance(part, ast.Name) and id(part) not in inline]
                if not found and named:
                    yield "?"

    # What rests on data: names that were computed from what a file holds.
    tainted, origin, used, defined, own = set(), {}, set(), {}, set()

    def rests(node):
        files = set(paths(node))
        used.update(*(origin.get(n, ()) for n in names(node)))
        hit = bool(files) or bool(names(node) & tainted)
        return hit or any(f in defined and defined[f] & tainted for f in names(node))

    def bind(target, node, hit):
        for name in names(target):
            files = set(paths(node))
            for other in names(node):
                files |= set(origin.get(other, ()))
            if hit:
                tainted.add(name)
                origin[name] = origin.get(name, set()) | files
            elif isinstance(target, ast.Name):
                tainted.discard(name)

    def literals(node):
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and not isinstance(part.value, (bool, type(None))):
                yield str(part.value)

    def output(node, hit, ours, under):
        if ours:
            report["outputs"] += 1
            report["grounded"] += hit
            if not hit:
                report["literals"] += [t for t in literals(node) if re.search(r"\d", t)]
            report["claims"] |= any("@" in t and "[" in t for t in literals(node))
            # A value between the brackets that is written there and not put there.
            spliced = {id(part) for text in ast.walk(node) if isinstance(text, ast.JoinedStr)
                       for part in ast.walk(text)}
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str) \
                        and id(part) not in spliced:
                    found = re.findall(r"@[^@\[\]]+\[[^\[\]{}%]*\d[^\[\]{}%]*\]", part.value)
                    # Which of two small numbers is printed may well depend on the data.
                    report["written"] += [each for each in found
                                          if not (under and re.search(r"\[-?\d{1,2}\]$", each))]

    def follow(body, ours, under=False, top=False):
        for index, node in enumerate(body):
            last = top and index == len(body) - 1
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)) and node.value is not None:
                hit = rests(node.value) or under
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    bind(target, node.value, hit or (isinstance(node, ast.AugAssign) and rests(target)))
            elif isinstance(node, (ast.For, ast.AsyncFor)):
                hit = rests(node.iter) or under
                bind(node.target, node.iter, hit)
                # Twice: what a later line of the loop computes, an earlier one may use.
                follow(node.body, False, hit)
                follow(node.body + node.orelse, ours, hit)
            elif isinstance(node, (ast.If, ast.While)):
                hit = rests(node.test) or under
                follow(node.body + node.orelse, ours, hit)
            elif isinstance(node, (ast.With, ast.AsyncWith)):
                for item in node.items:
                    hit = rests(item.context_expr) or under
                    if item.optional_vars is not None:
                        bind(item.optional_vars, item.context_expr, hit)
                follow(node.body, ours, under)
            elif isinstance(node, ast.Try):
                for part in (node.body, *(h.body for h in node.handlers), node.orelse, node.finalbody):
                    follow(part, ours, under)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                defined[node.name] = names(node)
                if any(True for _ in paths(node)):
                    tainted.add(node.name)
            elif isinstance(node, ast.Expr):
                call, spent = node.value, set(used)
                hit = rests(call) or under
                if all(called(c) in GLANCE for c in ast.walk(call) if isinstance(c, ast.Call)) \
                        and not any("@" in t for t in literals(call)):
                    # A glance at a file is no use of it.
                    used.clear()
                    used.update(spent)
                if isinstance(call, ast.Call) and called(call) == "print":
                    output(call, hit, ours, under)
                elif last:
                    output(call, hit, ours, under)
                elif isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                    if hit and isinstance(call.func.value, ast.Name):
                        bind(call.func.value, call, True)
            if ours:
                report["reads"] += sorted(set(paths(node)))

    def looks(tree):
        """Whether all a cell does is read and look."""
        for node in tree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                continue
            if isinstance(node, ast.Assign) and any(True for _ in paths(node)):
                continue
            if not isinstance(node, (ast.Expr, ast.For)):
                return False
            for part in ast.walk(node):
                if isinstance(part, ast.Call) and called(part) not in LOOKS:
                    return False
        return True

    def inspect(tree, before, shapes):
        """What can be said of a cell's text, given what its names meant before."""
        for index, node in enumerate(tree.body):
            last = index == len(tree.body) - 1
            call = node.value if isinstance(node, ast.Expr) else None
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                inplace = any(k.arg == "inplace" and getattr(k.value, "value", None) is True
                              for k in call.keywords)
                root = call.func.value
                while isinstance(root, (ast.Attribute, ast.Subscript, ast.Call)):
                    root = root.func if isinstance(root, ast.Call) else root.value
                ours = isinstance(root, ast.Name) and frame(space.get(root.id, before.get(root.id)))
                if ours and inplace and isinstance(call.func.value, (ast.Subscript, ast.Attribute)):
                    report["chained"].append(ast.unparse(node))
                elif ours and not inplace and not last and called(call) in PURE:
                    report["discarded"].append(ast.unparse(node))
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in targets:
                if isinstance(target, ast.Name):
                    old = before.get(target.id, getattr(builtins, target.id, None))
                    module = isinstance(old, type(ast))
                    if module or (target.id not in before and callable(old)):
                        report["shadowed"].append(target.id)
                if not isinstance(target, ast.Subscript):
                    continue
                base = target.value
                if isinstance(base, ast.Subscript) and isinstance(base.value, ast.Name) \
                        and frame(space.get(base.value.id)):
                    report["chained"].append(ast.unparse(node))
                elif isinstance(base, ast.Name) and isinstance(target.slice, ast.Constant) \
                        and isinstance(node.value, ast.Constant):
                    _, columns = shapes.get(base.id, (0, {}))
                    if str(target.slice.value) in columns:
                        report["overwritten"].append(ast.unparse(node))

    def holes(value):
        """How many values each column has, and how many of them are missing."""
        if isinstance(value, pandas.Series):
            return {"": (len(value), int(value.isna().sum()))}
        return {str(c): (len(value), int(value[c].isna().sum())) for c in value.columns
                if isinstance(value[c], pandas.Series)}

    def compare(before, shapes, tree):
        """What became of the frames that a cell made or changed."""
        joins = any(isinstance(n, ast.Call) and called(n) in ("merge", "join", "merge_asof")
                    for n in ast.walk(tree))
        converts = any(isinstance(n, ast.Call) and called(n) in CONVERTS for n in ast.walk(tree))
        sizes = [rows for rows, _ in shapes.values()]
        now = {k: v for k, v in list(space.items()) if not k.startswith("_") and frame(v)}
        sizes += [len(v) for k, v in now.items() if k not in shapes
                  and any(set(paths(n)) for n in tree.body if isinstance(n, ast.Assign)
                          and k in set().union(*map(names, n.targets)))]
        known = [share for _, old in shapes.values() for share in old.values()]
        for name, value in now.items():
            rows, old = shapes.get(name, (None, {}))
            if value is before.get(name) and rows == len(value) and holes(value) == old:
                continue
            if len(value) == 0:
                report["empty"].append(name)
                continue
            if joins and sizes and len(value) > max(sizes) and isinstance(value, pandas.DataFrame):
                report["exploded"].append("%s: %d rows of at most %d" % (name, len(value), max(sizes)))
            read = any(isinstance(n, ast.Assign) and name in set().union(*map(names, n.targets))
                       and any(True for _ in paths(n)) for n in tree.body)
            if read or not shapes or not converts:
                continue
            worst = max([m / n for n, m in known if n] or [0])
            for column, (count, missing) in holes(value).items():
                if old.get(column) != (count, missing) and missing / count > worst + 0.1:
                    report["lost"].append("%s[%s]: %d of %d are missing" % (name, column, missing, count))

    for code in earlier:
        tree = parsed(code)
        if tree is not None:
            follow(tree.body, False, top=True)
    for code in cells:
        tree = parsed(code)
        if tree is None:
            report["looks"] = False
        else:
            report["looks"] &= looks(tree)
            follow(tree.body, True, top=True)
    report["looks"] &= not report["claims"]
    report["unused"] = sorted(set().union(*origin.values()) - used) if origin else []
    opened, running = set(), [False]

    def watch(event, args):
        if running[0] and event == "open" and isinstance(args[0], (str, bytes)):
            path = os.path.abspath(os.fsdecode(args[0]))
            # It is told before it is tried.
            if path.startswith("/data/") and os.path.isfile(path):
                opened.add(path.rsplit("/", 1)[-1])

    sys.addaudithook(watch)
    for code in cells:
        before = {k: v for k, v in space.items() if not k.startswith("_")}
        shapes = {k: (len(v), holes(v)) for k, v in before.items() if frame(v)}
        printed, value = io.StringIO(), None
        try:
            tree = ast.parse(code)
            body, last = list(tree.body), None
            if body and isinstance(body[-1], ast.Expr):
                last = body.pop().value
            running[0] = True
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
                exec(compile(ast.Module(body, []), "<cell>", "exec", dont_inherit=True), space)
                if last is not None:
                    value = eval(compile(ast.Expression(last), "<cell>", "eval", dont_inherit=True), space)
        except BaseException as error:
            report["exception"] = type(error).__name__
        running[0] = False
        tree = parsed(code)
        pandas = sys.modules.get("pandas")
        if tree is None:
            continue
        inspect(tree, before, shapes)
        if pandas is not None:
            compare(before, shapes, tree)
            if frame(value) and len(value) == 0:
                report["empty"].append("the result")
        text = printed.getvalue()
        report["nan"] += re.findall(r"@[^@\[\]]+\[(?:nan|NaN|NaT|inf|-inf|None)\]", text)
        report["nan"] += re.findall(r"(?m)^(?:nan|NaN|NaT|inf|-inf)$", text.strip())
        if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
            report["nan"].append(str(value))
        if isinstance(value, str):
            report["nan"] += re.findall(r"@[^@\[\]]+\[(?:nan|NaN|NaT|inf|-inf|None)\]", value)
    report["opened"] = sorted(opened)
    for key, found in report.items():
        if isinstance(found, list):
            report[key] = [str(each)[:200] for each in found[:20]]
    print("plumb-probe " + json.dumps(report), file=out)
