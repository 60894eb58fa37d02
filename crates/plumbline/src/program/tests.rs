use proptest::prelude::*;
use serde_json::json;

use super::*;

fn size() -> Size {
    Size::default()
}

#[track_caller]
fn lp(text: &str) -> Program {
    lp::read(text, &size()).expect("an LP file")
}

#[track_caller]
fn refused(read: Result<Program, ProgramError>, words: &str) {
    let error = read.expect_err("it is refused").to_string();
    assert!(error.contains(words), "{error:?} lacks {words:?}");
}

#[test]
fn the_lp_format_is_read_as_cplex_documents_it() {
    let program = lp("\\ a comment\nMaximize\n obj: x1 + 2 x2 + 3 x3 + x4 - 7\n\
        Subject To\n c1: - x1 + x2 + x3 + 10 x4 <= 20\n c2: x1 - 3 x2\n  + x3 <= 30\n\
        c3: x2 - 3.5 x4 = 0\n -4 <= x1 - x2 <= 4\n\
        Bounds\n 0 <= x1 <= 40\n 2 <= x4 <= 3\n x2 free\n x3 >= -1e30\nGeneral\n x4\nEnd\n");
    assert_eq!(program.sense, Sense::Maximize);
    assert_eq!(program.offset, -7.0);
    let names: Vec<&str> = program.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names, ["c1", "c2", "c3", "c4"]);
    assert_eq!(program.rows[1].terms, [(0, 1.0), (1, -3.0), (2, 1.0)]);
    assert_eq!((program.rows[2].lower, program.rows[2].upper), (0.0, 0.0));
    assert_eq!((program.rows[3].lower, program.rows[3].upper), (-4.0, 4.0));
    assert_eq!(program.columns[0].upper, 40.0);
    assert_eq!(program.columns[1].lower, f64::NEG_INFINITY);
    assert_eq!(program.columns[2].lower, f64::NEG_INFINITY);
    assert!(program.columns[3].integer && !program.columns[0].integer);
}

#[test]
fn what_models_write_beyond_the_format_is_read_too() {
    let program = lp("max: 3*x + 2y\nst\n x ≤ 2 y + 1\n 10 >= x + y\nbin\n x, y\n");
    assert_eq!(program.rows[0].terms, [(0, 1.0), (1, -2.0)]);
    assert_eq!(program.rows[0].upper, 1.0);
    assert_eq!((program.rows[1].lower, program.rows[1].upper), (f64::NEG_INFINITY, 10.0));
    assert_eq!(program.rows[1].terms, [(0, 1.0), (1, 1.0)]);
    assert_eq!(program.columns[1].upper, 1.0);
}

#[test]
fn what_is_no_lp_file_is_refused_with_line_and_remedy() {
    let mut problems = Vec::new();
    for (text, words) in [
        ("", "line 1: begin with maximize"),
        ("x + y <= 3", "line 1: begin with maximize"),
        ("max x\nst\n 2 (x + y) <= 3\nend", "line 3: the LP format has no parentheses"),
        ("max x\nst\n x y <= 3\nend", "line 3: the constraint needs <="),
        ("max x\nst\n x * y <= 3\nend", "line 3: write a product"),
        ("max [ x ^ 2 ]\nst\n x <= 3\nend", "line 1: only linear terms"),
        ("max x\nst\n x / 2 <= 3\nend", "no division"),
        (
            "max x\nst\n c: x <= 3\n c: x >= 1\nend",
            "line 4: \"c\" already names the row of line 3",
        ),
        ("max x\nst\n x <= 1e400\nend", "beyond every number"),
        ("max 1e300 x\nst\n x <= 1\nend", "its cost is 1e300"),
        ("max x\nst\n 1e-12 x <= 1\nend", "takes for zero"),
        (
            "max boats\nst\n boats <= 4\nbounds\n boat <= 3\nend",
            "did you mean \"boats\"?",
        ),
        (
            "max x\nst\n x <= 4\nsos1\n s: x:1\nend",
            "line 4: this section is not supported",
        ),
        ("max x\nst\n b = 1 -> x <= 4\nend", "line 3"),
        ("max x\nst\n x <= nan\nend", "line 3: nan is no number"),
        ("max x\nst\n x >= 20 %x\nend", "line 3: the LP format has no percentages"),
        ("max x\nst\n x <= 4 end", "line 3: end is a keyword"),
        ("max x\nst\n x <= -inf\nend", "leave out every number"),
        ("max x\nst\n x <= 4\nmax y\nend", "a second objective"),
        ("max x\nst\n x <=\nend", "line 4: a term is missing"),
        ("max x\nst\n x + <= 4\nend", "a number or a variable is missing"),
        ("max x\nst\n x , 3 <= 4\nend", "needs <="),
        ("max x | y\nend", "the character '|'"),
        ("max 3\nst\nend", "it has no variables"),
    ] {
        let read = lp::read(text, &size());
        match read.map_err(|error| error.to_string()) {
            Err(said) if said.contains(words) => {}
            other => problems.push(format!("{text:?} lacks {words:?}: {other:?}")),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn sizes_are_bounds() {
    let size = Size { columns_max: 3, rows_max: 2, nonzeros_max: 4, text_bytes_max: 200 };
    let columns = "max a + b + c + d\nend";
    refused(lp::read(columns, &size), "too many variables: at most 3");
    let rows = "max a\nst\n a <= 1\n a <= 2\n a <= 3\nend";
    refused(lp::read(rows, &size), "too many constraints: at most 2");
    let terms = "max a\nst\n a + b + c <= 1\n a + b <= 2\nend";
    refused(lp::read(terms, &size), "5 coefficients: at most 4");
    refused(lp::read(&"x".repeat(201), &size), "a text of 201 bytes");
    refused(mps::read(&"x".repeat(201), &size), "a text of 201 bytes");
    let model = json!({"sets": {"I": "1..4"}, "variables": {"x": {"over": ["I"]}},
        "objective": {"maximize": "0"}});
    refused(algebra::read(&model, &size), "a set of 4 elements: at most 3");
    let model = json!({"sets": {"I": "1..3"}, "variables": {"x": {"over": ["I", "I"]}},
        "objective": {"maximize": "0"}});
    refused(algebra::read(&model, &size), "9 variables: at most 3");
}

const MPS: &str = "NAME          TEST\nOBJSENSE\n    MAX\nROWS\n N  COST\n L  LIM1\n G  LIM2\n E  MYEQN\n\
    COLUMNS\n    MARKER    'MARKER'    'INTORG'\n    X1  COST  1.0  LIM1  1.0\n    X1  LIM2  1.0\n\
    MARKER    'MARKER'    'INTEND'\n    X2  COST  2.0  LIM1  1.0\n    X2  MYEQN  -1.0\n\
    X3  COST  -1.0  MYEQN  1.0\nRHS\n    RHS  LIM1  4.0  LIM2  1.0\n    RHS  MYEQN  7.0\n\
    RHS  COST  -3.0\nRANGES\n    RNG  LIM1  2.5\nBOUNDS\n UP BND  X2  4.0\n MI BND  X3\nENDATA\n";

#[test]
fn mps_is_read_and_indentation_is_what_tells_sections_apart() {
    let text = MPS.replace("\nMARKER ", "\n MARKER ").replace("\nX", "\n X");
    let text = text.replace("\nRHS  COST", "\n RHS  COST");
    let program = mps::read(&text, &size()).expect("an MPS file");
    assert_eq!((program.sense, program.offset), (Sense::Maximize, 3.0));
    assert_eq!((program.rows[0].lower, program.rows[0].upper), (1.5, 4.0));
    assert_eq!(program.rows[2].terms, [(1, -1.0), (2, 1.0)]);
    let [x1, x2, x3] = program.columns.as_slice() else { panic!("three columns") };
    assert!(x1.integer && x1.upper == 1.0, "an integer column without bounds is binary");
    assert_eq!((x2.upper, x3.lower), (4.0, f64::NEG_INFINITY));

    refused(
        mps::read("NAME\nROWS\n N c\n", &size()),
        "line 3: the file ends before ENDATA",
    );
    refused(
        mps::read("ROWS\n Q c\nENDATA", &size()),
        "line 2: \"Q\" is none of N, L, G, E",
    );
    refused(
        mps::read("ROWS\n N c\nCOLUMNS\n x y 1\nENDATA", &size()),
        "ROWS has no \"y\"",
    );
    refused(mps::read("ROWS\n N c\nCOLUMNS\n x c 1e999\nENDATA", &size()), "beyond");
    refused(mps::read("ROWS\n N c\nCOLUMNS\n x c nan\nENDATA", &size()), "beyond");
    refused(mps::read("hello", &size()), "line 1: \"hello\" is no section");
    refused(mps::read("ROWS\n N c\n N\nENDATA", &size()), "a row reads");
}

#[test]
fn names_with_blanks_stand_in_the_fixed_columns() {
    let text = "NAME\nROWS\n N  COST\n L  ROW ONE\nCOLUMNS\n    MY VAR    COST      1.0            \
        ROW ONE   2.0\nRHS\n    RHS       ROW ONE   8.0\nENDATA\n";
    let program = mps::read(text, &size()).expect("a fixed MPS file");
    assert_eq!(program.columns[0].name, "MY VAR");
    assert_eq!(program.rows[0].terms, [(0, 2.0)]);
    assert_eq!(program.rows[0].upper, 8.0);
}

fn multi_period() -> serde_json::Value {
    json!({
        "sets": { "T": "1..4", "T0": "0..4", "ARCS": [["a", "b"], ["b", "c"]] },
        "parameters": { "demand": [10, 20, 30, 40], "cap": { "a,b": 5, "b": { "c": 6 } },
            "long": [7, 8], "share": 60 },
        "variables": {
            "make": { "over": ["T"], "upper": "demand" },
            "stock": { "over": ["T0"] },
            "flow": { "over": ["ARCS"], "upper": "cap" },
            "open": { "type": "binary" }
        },
        "objective": { "minimize": "sum(t in T) (t*make[t] + 0.5*stock[t]) + 3 + \
            sum(long[i,j]*flow[i,j] for (i, j) in ARCS if i != 'b')" },
        "constraints": [
            "balance: stock[t-1] + make[t] = demand[t] + stock[t] for t in T",
            "start: stock[0] = 0",
            "late: make[t] <= make[t-1] for t in T, t > 1",
            "share%: 1 <= 2".trim_start_matches("share%: "),
            "band: 1 <= open + 60%*make[1] <= 2"
        ]
    })
}

#[test]
fn the_algebra_writes_out_sums_and_shifts() {
    let program = algebra::read(&multi_period(), &size()).expect("a model");
    let column = |name: &str| {
        let found = program.columns.iter().position(|column| column.name == name);
        found.unwrap_or_else(|| panic!("no column {name}"))
    };
    let row = |name: &str| {
        let found = program.rows.iter().find(|row| row.name == name);
        found.unwrap_or_else(|| panic!("no row {name}"))
    };
    assert_eq!(program.columns.len(), 4 + 5 + 2 + 1);
    assert_eq!(program.offset, 3.0);
    assert_eq!(program.columns[column("make[3]")].cost, 3.0);
    assert_eq!(program.columns[column("make[3]")].upper, 30.0);
    assert_eq!(program.columns[column("flow[b,c]")].upper, 6.0);
    assert_eq!(program.columns[column("flow[a,b]")].cost, 7.0);
    assert_eq!(program.columns[column("flow[b,c]")].cost, 0.0);
    let balance = row("balance[2]");
    assert_eq!((balance.lower, balance.upper), (20.0, 20.0));
    let mut terms = vec![
        (column("stock[1]"), 1.0),
        (column("make[2]"), 1.0),
        (column("stock[2]"), -1.0),
    ];
    terms.sort_by_key(|(column, _)| *column);
    assert_eq!(balance.terms, terms);
    assert_eq!(program.rows.iter().filter(|row| row.name.starts_with("late")).count(), 3);
    assert_eq!((row("band").lower, row("band").upper), (1.0, 2.0));
    assert_eq!(row("band").terms, [(column("make[1]"), 0.6), (column("open"), 1.0)]);
    assert!(row("c4").terms.is_empty());
}

#[test]
fn what_is_no_model_is_refused_with_field_and_remedy() {
    let check = |pointer: &str, value: serde_json::Value, words: &str| {
        let mut model = multi_period();
        *model.pointer_mut(pointer).expect(pointer) = value;
        refused(algebra::read(&model, &size()), words);
    };
    check("/constraints/2", json!("late: make[t] <= make[t-1] for t in T"), "make[0]");
    check("/constraints/0", json!("make[t]*stock[t] <= 1 for t in T"), "not linear");
    check("/constraints/0", json!("1/make[t] <= 1 for t in T"), "not linear");
    check("/constraints/0", json!("make[1] <= 1/0"), "division by zero");
    check("/constraints/0", json!("maek[1] <= 1"), "did you mean \"make\"?");
    check("/constraints/0", json!("make[1] <= 1 for t in S"), "there is no set \"S\"");
    check(
        "/constraints/0",
        json!("make[t] <= demand[1] for t in T"),
        "a list is looked up",
    );
    check("/constraints/0", json!("make <= 1"), "there is no \"make\"");
    check("/constraints/0", json!("flow[a] <= 1"), "there is no \"flow[a]\"");
    check("/constraints/0", json!("make[i] <= 1 for i in ARCS"), "2 parts");
    check("/constraints/0", json!(7), "constraints[0]: must be a text");
    check("/sets/T", json!("4..1"), "sets.T: the range");
    check("/sets/T", json!("1..1000000000"), "a set of 1000000000 elements");
    check("/sets/T", json!([]), "empty");
    check("/sets/T", json!(["a", "a"]), "twice");
    check("/parameters/share", json!("60"), "parameters.share");
    check("/variables/open", json!({"type": "boolean"}), "variables.open: type");
    check("/objective", json!({"maximise": "0"}), "objective: write");
    check("/objective", json!({"maximize": "1e999"}), "beyond every number");
    check("/objective", json!({"maximize": "1e300*make[1]"}), "its cost is 1e300");
    let sum = "sum(a in T0, b in T0, c in T0, d in T0, e in T0, f in T0, g in T0, h in T0, \
        i in T0, j in T0, k in T0) 1 <= 2";
    check("/constraints/0", json!(sum), "too many terms");
}

fn programs() -> impl Strategy<Value = Program> {
    let value = prop_oneof![
        (-50i32..50).prop_map(f64::from),
        (-5e5..5e5f64).prop_filter("not tiny", |v| v.abs() > 1e-6),
    ];
    let limit = prop_oneof![3 => value.clone(), 1 => Just(f64::INFINITY)];
    let column = (value.clone(), limit.clone(), limit.clone(), any::<bool>());
    let row = (
        proptest::collection::vec((0usize..6, value.clone()), 0..6),
        limit.clone(),
        limit,
    );
    (
        any::<bool>(),
        value,
        proptest::collection::vec(column, 1..6),
        proptest::collection::vec(row, 0..6),
    )
        .prop_map(|(maximize, offset, columns, rows)| {
            let count = columns.len();
            let columns =
                (0..).zip(columns).map(|(at, (cost, one, two, integer))| Column {
                    name: format!("v{at}"),
                    cost,
                    lower: -one,
                    upper: two.max(-one),
                    integer,
                });
            let rows = (0..).zip(rows).map(|(at, (terms, one, two))| {
                let terms = terms.into_iter().filter(|(column, _)| *column < count);
                let lower = if one == f64::INFINITY { f64::NEG_INFINITY } else { one };
                let upper = two.max(lower);
                Row { name: format!("r{at}"), lower, upper, terms: merged(terms) }
            });
            let sense = if maximize { Sense::Maximize } else { Sense::Minimize };
            Program { sense, offset, columns: columns.collect(), rows: rows.collect() }
        })
        .prop_filter("a program", |program| program.check(&Size::default()).is_ok())
}

/// A text and some damage to it.
fn damaged(text: String) -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "",
        " ",
        "\n",
        "<=",
        ">=",
        "=",
        "-",
        "+",
        "3",
        "1e308",
        "x",
        ":",
        "[",
        "]",
        "(",
        ")",
        "inf",
        "free",
        "end",
        "bounds",
        "subject to",
        "é",
        "\u{0}",
        "*",
        "RHS",
        "sum",
        "for",
    ]);
    let cut = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), pieces);
    proptest::collection::vec(cut, 1..4).prop_map(move |cuts| {
        let mut text = text.clone();
        for (from, to, piece) in cuts {
            if text.is_empty() {
                break;
            }
            let (from, to) = (from.index(text.len()), to.index(text.len()));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 8));
            let (from, to) =
                (text.floor_char_boundary(from), text.floor_char_boundary(to));
            text.replace_range(from..to.max(from), piece);
        }
        text
    })
}

proptest! {
    #[test]
    fn what_is_written_as_lp_reads_back(program in programs()) {
        let text = lp::write(&program);
        prop_assert_eq!(lp::read(&text, &Size::default()).expect("our own text"), program);
    }

    #[test]
    fn no_damage_to_an_lp_file_breaks_the_reader(
        text in programs().prop_flat_map(|program| damaged(lp::write(&program)))
    ) {
        if let Ok(program) = lp::read(&text, &Size::default()) {
            program.check(&Size::default()).expect("what is read is a program");
        }
    }

    #[test]
    fn no_damage_to_an_mps_file_breaks_the_reader(text in damaged(MPS.to_owned())) {
        if let Ok(program) = mps::read(&text, &Size::default()) {
            program.check(&Size::default()).expect("what is read is a program");
        }
    }

    #[test]
    fn no_damage_to_an_expression_breaks_the_compiler(
        at in 0usize..5,
        text in "[a-zT0-9 +*/(),<=\\[\\]-]{0,40}",
    ) {
        let mut model = multi_period();
        model["constraints"][at] = json!(text);
        if let Ok(program) = algebra::read(&model, &Size::default()) {
            program.check(&Size::default()).expect("what is read is a program");
        }
    }

    #[test]
    fn any_text_at_all_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = lp::read(&text, &Size::default());
        let _ = mps::read(&text, &Size::default());
    }
}
