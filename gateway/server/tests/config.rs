//! The configuration as people meet it: errors with places, precedence, the example file, the generated documents.
#![expect(clippy::unwrap_used, reason = "a test's set-up may panic")]

use std::path::PathBuf;

use gateway_server::config::{
    Source, changed_restart_keys, config_hash, load, load_text, print_effective, reference_markdown,
    schema_json,
};

const MANIFEST: &str = r#"
name = "echo"
version = "1"
engine = "identity"
inputs = [{ name = "x", datatype = "FP32", shape = [4] }]
outputs = [{ name = "y", datatype = "FP32", shape = [4] }]
"#;

/// A folder with a manifest in it, and a source whose file would lie there.
fn place() -> (tempfile::TempDir, Source) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.toml"), MANIFEST).unwrap();
    let source = Source { path: Some(folder.path().join("gateway.toml")), ..Source::default() };
    (folder, source)
}

const MODEL: &str = "[models.echo]\nmanifest = \"model.toml\"\nfunction = \"f\"\n";

fn error(text: &str) -> String {
    let (_folder, source) = place();
    load_text(text, &source).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_is_an_error_with_position_and_nearest_name() {
    let text = format!("{MODEL}[models.echo.plan]\n  max_batchsize = 4\n");
    let error = error(&text);
    assert!(
        error.contains("gateway.toml:5:3: unknown key `max_batchsize`; did you mean `max_batch_size`?"),
        "{error}"
    );
}

#[test]
fn a_value_out_of_range_is_an_error_at_its_key() {
    assert!(
        error("\n[limits]\nmax_connections = 0\n")
            .contains("gateway.toml:3:1: `limits.max_connections` must be")
    );
    let message = error("[drain]\ndrain_limit_ms = -5\n");
    assert!(message.contains("gateway.toml:2:18: -5 is not 0 to"), "{message}");
    let plan = format!("{MODEL}[models.echo.plan]\nmax_batch_size = 0\n");
    let message = error(&plan);
    assert!(message.contains("gateway.toml:4:") && message.contains("max_batch_size"), "{message}");
    let service_times = format!("{MODEL}[models.echo.plan]\nservice_time_upper_ms = [[8, 50], [1, 20]]\n");
    assert!(error(&service_times).contains("service_time_upper"));
}

#[test]
fn a_missing_manifest_is_named_with_the_path_that_was_tried() {
    let message = error("[models.echo]\nmanifest = \"nowhere\"\nfunction = \"f\"\n");
    assert!(message.contains("gateway.toml:2:1: `models.echo.manifest` cannot be read at"), "{message}");
}

#[test]
fn every_problem_is_told_at_once() {
    let message = error("[limits]\nmax_items = 0\n[aws]\ncredentials = \"static-test\"\n");
    assert!(message.contains("limits.max_items") && message.contains("aws.credentials"), "{message}");
}

#[test]
fn command_line_beats_environment_beats_file_beats_default() {
    let (_folder, mut source) = place();
    let text =
        format!("{MODEL}[models.echo.plan]\nmax_batch_size = 4\nmax_in_flight = 4\nprocess_count = 4\n");
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    source.environment = vec![
        variable("PENSTOCK_MODELS__ECHO__PLAN__MAX_IN_FLIGHT", "5"),
        variable("PENSTOCK_MODELS__ECHO__PLAN__MAX_BATCH_SIZE", "5"),
        variable("PENSTOCK_AWS__REGION", "eu-central-1"),
    ];
    source.overrides = vec![("models.echo.plan.max_batch_size".to_owned(), "6".to_owned())];
    let loaded = load_text(&text, &source).unwrap();
    let plan = &loaded.settings.models[0].plan;
    assert_eq!((plan.max_batch_size, plan.max_in_flight, plan.rungs[0].process_count), (6, 5, 4));
    assert_eq!(loaded.settings.invoker.region.as_deref(), Some("eu-central-1"));
    let listing = print_effective(&loaded, true);
    for line in [
        "models.echo.plan.max_batch_size = 6 # command line",
        "models.echo.plan.max_in_flight = 5 # environment PENSTOCK_MODELS__ECHO__PLAN__MAX_IN_FLIGHT",
        "models.echo.plan.process_count = 4 # file, line 7",
        "models.echo.plan.memory_mib = 1769 # default",
    ] {
        assert!(listing.contains(line), "`{line}` is not in\n{listing}");
    }
    source.environment = vec![variable("PENSTOCK_LIMITS__MAX_ITEM", "1")];
    let message = load_text(&text, &source).unwrap_err().to_string();
    assert!(
        message.contains("PENSTOCK_LIMITS__MAX_ITEM") && message.contains("did you mean `max_items`?"),
        "{message}"
    );
}

#[test]
fn the_effective_listing_is_itself_a_configuration() {
    let (_folder, source) = place();
    let loaded = load_text(MODEL, &source).unwrap();
    let again = load_text(&print_effective(&loaded, true), &source).unwrap();
    assert_eq!(again.config, loaded.config);
    assert_eq!(config_hash(&again.config), config_hash(&loaded.config));
}

#[test]
fn a_qualifier_defaults_to_the_memory_and_rungs_replace_the_default_one() {
    let (_folder, source) = place();
    let rungs = "[models.echo.plan]\nmax_batch_size = 8\nrungs = [{ max_items = 2, memory_mib = 512 }, { max_items = 8, memory_mib = 2048, process_count = 2, qualifier = \"big\" }]\n";
    let loaded = load_text(&format!("{MODEL}{rungs}"), &source).unwrap();
    let rungs = &loaded.settings.models[0].plan.rungs;
    assert_eq!((rungs[0].qualifier.as_str(), rungs[1].qualifier.as_str()), ("mem-512", "big"));
}

#[test]
fn only_keys_that_need_a_restart_are_reported_so() {
    let (_folder, source) = place();
    let before = load_text(MODEL, &source).unwrap().config;
    let after =
        load_text(&format!("{MODEL}[models.echo.plan]\nmax_batch_size = 3\n"), &source).unwrap().config;
    assert!(changed_restart_keys(&before, &after).is_empty());
    let after = load_text(&format!("[log]\nformat = \"json\"\n{MODEL}"), &source).unwrap().config;
    assert_eq!(changed_restart_keys(&before, &after), ["log.format"]);
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_example_is_valid() {
    let path = repository().join("gateway/penstock.example.toml");
    let (folder, _) = place();
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::create_dir_all(folder.path().join("models/sentiment")).unwrap();
    std::fs::write(folder.path().join("models/sentiment/model.toml"), MANIFEST).unwrap();
    let copy = folder.path().join("penstock.example.toml");
    std::fs::write(&copy, text).unwrap();
    let loaded = load(&Source { path: Some(copy), ..Source::default() }).unwrap();
    assert_eq!(loaded.settings.models[0].name, "sentiment");
}

#[test]
fn the_committed_schema_and_references_are_not_stale() {
    for (file, wanted, command) in [
        ("docs/config.schema.json", schema_json(), "penstock reference config-schema"),
        ("docs/metrics.md", gateway_server::telemetry::metrics_markdown(), "penstock reference metrics"),
        ("docs/config.md", reference_markdown(), "penstock reference config"),
    ] {
        let committed = std::fs::read_to_string(repository().join(file)).unwrap_or_default();
        assert!(committed == wanted, "{file} is stale: write it again with `{command} > {file}`");
    }
}
