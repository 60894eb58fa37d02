use plumbline::Scratch;

use crate::World;

const STEPS: [&str; 6] = [
    "CREATE TABLE bridge(id INTEGER PRIMARY KEY, town TEXT, at DEFAULT CURRENT_TIMESTAMP)",
    "INSERT INTO bridge(town) SELECT name FROM city ORDER BY name",
    "UPDATE city SET people = people + 1 WHERE people IS NOT NULL",
    "DELETE FROM river WHERE id = 1",
    "ALTER TABLE bridge ADD COLUMN span REAL",
    "INSERT INTO bridge(town, span) VALUES ('Felling', 12.5) RETURNING id, span",
];
const LOOK: &str = "SELECT b.id, b.town, b.at, b.span, c.people FROM bridge b \
                    LEFT JOIN city c ON c.name = b.town ORDER BY b.id";

#[test]
fn a_forked_copy_equals_one_executed_again() {
    let world = World::writable();
    let mut scratch = world.start();
    let mut forks: Vec<Scratch> = vec![scratch.clone()];
    for step in STEPS {
        let observation = world.run(step, &mut scratch);
        assert_eq!(observation.as_fault(), None, "{step}: {observation:?}");
        forks.push(scratch.clone());
    }
    let digests: std::collections::BTreeSet<_> =
        forks.iter().map(Scratch::digest).collect();
    assert_eq!(digests.len(), STEPS.len() + 1, "every state is one of its own");
    let seen = world.run(LOOK, &mut scratch);
    assert_eq!(seen.data()["row_count"], 4, "{seen:?}");
    // Every fork goes the rest of the way: from its live copy, and with every copy dropped.
    for forgetful in [false, true] {
        for (index, fork) in forks.iter().enumerate() {
            let mut fork = fork.clone();
            for step in &STEPS[index..] {
                if forgetful {
                    world.engine.forget();
                }
                world.run(step, &mut fork);
            }
            assert_eq!(fork.digest(), scratch.digest(), "from step {index}");
            assert_eq!(world.run(LOOK, &mut fork), seen);
        }
    }
}

#[test]
fn branches_do_not_see_each_other() {
    let world = World::writable();
    let mut one = world.start();
    world.run("DELETE FROM city WHERE name = 'Sorn'", &mut one);
    let mut two = one.clone();
    world.run("DELETE FROM city WHERE name = 'Felling'", &mut one);
    world.run("INSERT INTO city VALUES ('Ashby', 5)", &mut two);
    let names = |scratch: &mut Scratch| {
        world.run("SELECT group_concat(name) AS x FROM city", scratch).text().to_owned()
    };
    assert_eq!(names(&mut one), "x\nOrrin\n(1 row)");
    assert!(names(&mut two).contains("Ashby"));
    assert!(
        names(&mut world.start()).contains("Sorn"),
        "the database itself is untouched"
    );
    assert_ne!(one.digest(), two.digest());
    let described =
        world.call(&world.describe, &serde_json::json!({"table": "city"}), &mut two);
    assert!(described.text().contains("3 rows"), "{}", described.text());
}

#[test]
fn what_fails_leaves_nothing_behind() {
    let world = World::writable();
    let mut scratch = world.start();
    world.run("INSERT INTO city VALUES ('Ashby', 5)", &mut scratch);
    let before = scratch.digest();
    let failed =
        world.run("INSERT INTO city VALUES ('Birk', 1), ('Ashby', 6)", &mut scratch);
    assert!(failed.text().contains("UNIQUE"), "{failed:?}");
    world.run("SELECT count(*) FROM city", &mut scratch);
    assert_eq!(scratch.digest(), before);
    let count = world.run("SELECT count(*) AS n FROM city", &mut scratch);
    assert_eq!(count.text(), "n\n4\n(1 row)");
}
