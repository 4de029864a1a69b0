//! What the check of a database warns of.

use idem_tests::{Framework, Postgres, Settings, Traces, World, conformance};
use tracing::Level;

conformance![
    traced on Postgres:
    p5_table_that_is_lost_in_a_crash_is_warned_of,
    p5_role_that_may_not_delete_is_warned_of,
];

fn warnings(traces: &Traces, word: &str) -> usize {
    let warns = |event: &&idem_tests::Traced| {
        event.level == Level::WARN && event.fields["message"].contains(word)
    };
    traces.events().iter().filter(warns).count()
}

async fn p5_table_that_is_lost_in_a_crash_is_warned_of<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let traces = Traces::capture();
    drop(world.instance().await);
    assert_eq!(warnings(&traces, "UNLOGGED"), 0);
    world.run("ALTER TABLE idem.records SET UNLOGGED").await;
    let instance = world.instance().await;
    assert_eq!(warnings(&traces, "UNLOGGED"), 1);
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_executed(201);
}

async fn p5_role_that_may_not_delete_is_warned_of<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let traces = Traces::capture();
    drop(world.instance().await);
    assert_eq!(warnings(&traces, "purge"), 0);
    world
        .run(
            "DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO pg_signal_backend', \
             current_database()); END $$; GRANT ALL ON effects TO pg_signal_backend; \
             GRANT USAGE, CREATE ON SCHEMA idem TO pg_signal_backend; \
             GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA idem TO pg_signal_backend",
        )
        .await;
    let mut settings = Settings::default();
    settings.wires.session = |options| options.options([("role", "pg_signal_backend")]);
    let instance = world.instance_with(settings).await;
    assert_eq!(warnings(&traces, "purge"), 1);
    let request = instance.post("/effects").key("k").effect("a");
    request.send().await.assert_executed(201);
}
