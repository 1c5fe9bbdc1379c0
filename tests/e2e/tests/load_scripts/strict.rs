//! What the interpreter does not let pass, so that a library that it runs can be trusted.

use e2e::qlik_script::{ContentType, Interpreter, RestConnector, Stop, Value};

fn interpreter() -> Interpreter {
    Interpreter::new(RestConnector::new(ContentType::Script), &[], &["vOptional"])
}

#[test]
fn faults_are_told() {
    for (script, part) in [
        ("Let a = 1", "`;` is missing"),
        ("Let a = 'x;", "`'` is missing"),
        ("Sub x(a)\nLet a = 1;", "end sub is missing"),
        ("End Sub", "ends nothing"),
        ("If 1 = 1 Then\nElse", "end if is missing"),
        ("If 1 = 1\nEnd If", "THEN is missing"),
        ("For i = 0 To 3", "next is missing"),
        ("Call a", "there is no Sub `a`"),
        ("Sub a(b)\nEnd Sub\nCall a(1, 2)", "has 1 parameters"),
        ("Call a('b\nc')", "on one line"),
        ("Let a = b;", "nothing sets `b`"),
        ("Let a = $(b);", "nothing sets `b`"),
        ("Let a = Lenght('x');", "lenght with 1 arguments is not known"),
        ("Let a = Len('x', 'y');", "len with 2 arguments is not known"),
        ("Let a = (1;", "`)` is missing"),
        ("Let a = 1 2;", "should end before"),
        ("// the value is $(a)\nLet a = 1;", "in comments"),
        ("Let d = 'x' & Chr(59) & ' Let f = 1';\nTrace $(d);", "changes the statement"),
        ("Let d = 'x' & Chr(39) & ';';\nLet e = '$(d)';", "`'` is missing"),
        ("Let a = Chr(36) & '(b)';\nTrace $(a);", "would be expanded"),
        ("a:\nLOAD x RESIDENT b;", "there is no table `b`"),
        ("a:\nLOAD * Inline [\nx\n1\n];\nb:\nLOAD y RESIDENT a;", "there is no field `y`"),
        ("a:\nLOAD * Inline [\nx\n1\n];\nb:\nLOAD * RESIDENT a;", "would be added to `a`"),
        ("a:\nLOAD * Inline [\nx\n1\n];\na:\nLOAD x AS y RESIDENT a;", "a table `a` already"),
        ("Let a = MapSubString('none', 'x');", "there is no map `none`"),
        ("Store a Into b;", "not known"),
        (
            "a:\nSQL SELECT \"b\" FROM JSON (wrap on) \"root\" WITH CONNECTION (URL \"http://x/y\");",
            "no connection is open",
        ),
        (
            "LIB CONNECT TO 'Butler_GET';\na:\nSQL SELECT \"b\" FROM JSON (wrap on) \"root\" WITH CONNECTION (URL \"http://x/y\",);",
            "is missing before",
        ),
        (
            "LIB CONNECT TO 'Butler_GET';\na:\nSQL SELECT \"b\" FROM JSON (wrap on) \"root\" WITH CONNECTION (URL \"http://x/a b\");",
            "is not encoded",
        ),
        (
            "LIB CONNECT TO 'Other';\na:\nSQL SELECT \"b\" FROM JSON (wrap on) \"root\" WITH CONNECTION (URL \"http://x/y\");",
            "no connection `Other`",
        ),
        (
            "LIB CONNECT TO 'Butler_GET';\na:\nSQL SELECT \"b\" FROM JSON (wrap on) \"root\" PK \"k\" WITH CONNECTION (URL \"http://x/y\");",
            "not among the fields",
        ),
    ] {
        match interpreter().run(script) {
            Err(Stop::Fault(message)) => assert!(message.contains(part), "{script}: {message}"),
            other => panic!("{script}: {other:?}"),
        }
    }
    let missing = interpreter().run("$(Must_Include=[lib://a/b.qvs]);");
    assert!(matches!(&missing, Err(Stop::Failed(message)) if message.contains("lib://a/b.qvs")), "{missing:?}");
    let mut lenient = interpreter();
    lenient.run("Set ErrorMode = 0;\nDrop Table a;\nLet b = ScriptErrorCount;").unwrap();
    assert_eq!(lenient.variable("b"), Some(&Value::Number(1.0)));
}

#[test]
fn scripts_do_what_qliks_help_says() {
    let mut script = interpreter();
    script
        .run(
            "// From the help on Sub: A comes back, an expression does not, what is not passed is empty and stays as it was.\n\
             Sub ParTrans(A, B, C)\n  Let A = A + 1;\n  Let B = B + 1;\n  Let inner = Len(C);\n  Let C = C + 1;\nEnd Sub\n\
             Let A = 1; Let X = 1; Let C = 1;\nCall ParTrans(A, (X + 1) * 2)\n\
             Let total = 0;\nFor i = 1 To 3\n  If i = 2 Then\n    Let total = total + 10;\n  ElseIf i > 2 Then\n    \
             Let total = total + 100;\n  Else\n    Let total = total + 1;\n  EndIf\nNext i\n\
             Let none = If(vOptional > 0 or Not Len(vOptional) = 0, 'some', 'none') /* comment */ & '!';\n\
             Set text = 'a ''b'' // c';\n\
             Map:\nMapping LOAD Chr(RecNo()) AS k, Num(RecNo(), '(HEX)') & '.' AS v AutoGenerate 255 Where RecNo() > 100;\n\
             Let mapped = MapSubString('Map', 'Aéz');\n\
             Qualify *;\nt:\nLOAD * Inline [\nx, y\n1, a b\n2,\n];\nUnqualify *;\n\
             Let peeked = Peek(FieldName(2, 't'), 0, 't') & NoOfRows('t') & FieldNumber('t.y', 't') & FieldNumber('y', 't');\n",
        )
        .unwrap();
    let text = |name: &str| script.variable(name).map(Value::text);
    let expected = [
        ("A", "2"),
        ("C", "1"),
        ("X", "1"),
        ("inner", "0"),
        ("total", "111"),
        ("none", "none!"),
        ("mapped", "AE9.7A."),
        ("peeked", "a b220"),
    ];
    for (name, value) in expected {
        assert_eq!(text(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(script.variable("B"), None);
}
