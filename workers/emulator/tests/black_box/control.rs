//! The configuration API: functions, asynchronous updates, versions, aliases, concurrency.

use crate::support::{Got, Local, eventually};
use serde_json::{Value, json};

const FUNCTIONS: &str = "/2015-03-31/functions";

fn created(local: &Local, name: &str) {
    let got = local.call("POST", FUNCTIONS, Local::create_body(name));
    assert_eq!(got.status, 201, "{}", got.text);
    eventually("the function is active", || {
        let shown = local.call("GET", &format!("{FUNCTIONS}/{name}/configuration"), Value::Null).json();
        shown["State"] == "Active" && shown["LastUpdateStatus"] == "Successful"
    });
}

fn settled(local: &Local, name: &str) {
    eventually("the update is over", || {
        local.call("GET", &format!("{FUNCTIONS}/{name}/configuration"), Value::Null).json()["LastUpdateStatus"]
            == "Successful"
    });
}

fn update(local: &Local, name: &str, body: Value) -> Got {
    local.call("PUT", &format!("{FUNCTIONS}/{name}/configuration"), body)
}

fn error_type(got: &Got) -> &str {
    got.header("x-amzn-errortype").unwrap_or_default()
}

#[test]
fn a_created_function_is_pending_then_active_and_runs() {
    let local = Local::start("");
    let got = local.call("POST", FUNCTIONS, Local::create_body("made"));
    assert_eq!(
        (got.status, &got.json()["State"], &got.json()["Version"]),
        (201, &json!("Pending"), &json!("$LATEST"))
    );
    assert_eq!(got.json()["FunctionArn"], "arn:aws:lambda:us-east-1:000000000000:function:made");
    let early = local.invoke_on("made", json!({}));
    assert_eq!((early.status, error_type(&early)), (409, "ResourceConflictException"));
    settled(&local, "made");
    assert_eq!(local.invoke_on("made", json!({ "x": 2 })).json(), json!({ "x": 2 }));
    let twice = local.call("POST", FUNCTIONS, Local::create_body("made"));
    assert_eq!((twice.status, error_type(&twice)), (409, "ResourceConflictException"));
    assert!(twice.text.contains("Function already exist: made"));
}

#[test]
fn an_update_is_in_progress_conflicts_and_then_serves() {
    let local = Local::start("");
    created(&local, "made");
    local.invoke_on("made", json!({}));
    let got =
        update(&local, "made", json!({ "MemorySize": 512, "Environment": { "Variables": { "A": "b" } } }));
    assert_eq!((got.status, &got.json()["LastUpdateStatus"]), (200, &json!("InProgress")));
    let second = update(&local, "made", json!({ "MemorySize": 256 }));
    assert_eq!((second.status, error_type(&second)), (409, "ResourceConflictException"));
    assert!(
        second.text.contains("An update is in progress for resource: arn:aws:lambda:"),
        "{}",
        second.text
    );
    let old = local.invoke_on("made", json!({ "command": "cpus" })).json();
    assert_eq!(old["memory_mib"], 1769, "the old configuration serves meanwhile");
    settled(&local, "made");
    let new = local.invoke_on("made", json!({ "command": "cpus" })).json();
    assert_eq!(new["memory_mib"], 512);
    assert_eq!(local.invoke_on("made", json!({ "command": "env" })).json()["A"], "b");
    eventually("the old sandbox is gone", || local.sandboxes().len() == 1);
}

#[test]
fn revisions_guard_changes() {
    let local = Local::start("");
    created(&local, "made");
    let got = update(&local, "made", json!({ "MemorySize": 256, "RevisionId": "another" }));
    assert_eq!((got.status, error_type(&got)), (412, "PreconditionFailedException"));
    let shown = local.call("GET", &format!("{FUNCTIONS}/made"), Value::Null).json();
    let revision = shown["Configuration"]["RevisionId"].clone();
    assert_eq!(update(&local, "made", json!({ "MemorySize": 256, "RevisionId": revision })).status, 200);
}

#[test]
fn values_out_of_range_are_refused_as_aws_words_them() {
    let local = Local::start("");
    let refused = |change: Value, status: u16, kind: &str, text: &str| {
        let mut body = Local::create_body("made");
        for (key, value) in change.as_object().unwrap() {
            body[key] = value.clone();
        }
        let got = local.call("POST", FUNCTIONS, body);
        assert_eq!((got.status, error_type(&got)), (status, kind), "{}", got.text);
        assert!(got.text.contains(text), "{}", got.text);
    };
    refused(
        json!({ "MemorySize": 127 }),
        400,
        "ValidationException",
        "Value '127' at 'memorySize' failed to satisfy constraint",
    );
    refused(
        json!({ "MemorySize": 10241 }),
        400,
        "InvalidParameterValueException",
        "'MemorySize' value failed to satisfy constraint",
    );
    refused(json!({ "Timeout": 901 }), 400, "ValidationException", "less than or equal to 900");
    refused(
        json!({ "Runtime": "cobol" }),
        400,
        "InvalidParameterValueException",
        "at 'runtime' failed to satisfy constraint",
    );
    refused(json!({ "Runtime": "python3.12" }), 400, "InvalidParameterValueException", "not emulated");
    refused(json!({ "FunctionName": "a b" }), 400, "ValidationException", "'functionName'");
    refused(json!({ "Role": "me" }), 400, "ValidationException", "'role'");
    refused(
        json!({ "Code": { "S3Bucket": "b", "S3Key": "k" } }),
        400,
        "InvalidParameterValueException",
        "S3 is not emulated",
    );
    refused(
        json!({ "Code": { "ZipFile": "bm8gemlw" } }),
        400,
        "InvalidParameterValueException",
        "Could not unzip",
    );
    refused(
        json!({ "Environment": { "Variables": { "AWS_REGION": "x" } } }),
        400,
        "InvalidParameterValueException",
        "reserved keys",
    );
    let garbage = local.send("POST", FUNCTIONS, &[], b"{").unwrap();
    assert_eq!((garbage.status, error_type(&garbage)), (400, "SerializationException"));
}

#[test]
fn versions_are_immutable_and_published_once() {
    let local = Local::start("");
    created(&local, "made");
    let publish = || local.call("POST", &format!("{FUNCTIONS}/made/versions"), json!({}));
    let first = publish();
    assert_eq!((first.status, &first.json()["Version"]), (201, &json!("1")));
    assert_eq!(publish().json()["Version"], "1", "nothing has changed");
    update(&local, "made", json!({ "MemorySize": 512 }));
    assert_eq!(publish().status, 409, "not while an update is in progress");
    settled(&local, "made");
    assert_eq!(publish().json()["Version"], "2");
    let versions = local.call("GET", &format!("{FUNCTIONS}/made/versions"), Value::Null).json();
    let numbers: Vec<&str> =
        versions["Versions"].as_array().unwrap().iter().filter_map(|it| it["Version"].as_str()).collect();
    assert_eq!(numbers, ["$LATEST", "1", "2"]);
    let memory = |qualifier: &str| {
        local
            .invoke_on(
                &format!("made?Qualifier={qualifier}"),
                json!({ "command": "cpus" }),
            )
            .json()["memory_mib"]
            .clone()
    };
    assert_eq!((memory("1"), memory("2"), memory("%24LATEST")), (json!(1769), json!(512), json!(512)));
    let got = local.invoke_on("made:1", json!({}));
    assert_eq!(got.header("x-amz-executed-version"), Some("1"));
    assert_eq!(local.invoke_on("made:9", json!({})).status, 404);
    assert_eq!(local.call("DELETE", &format!("{FUNCTIONS}/made?Qualifier=1"), Value::Null).status, 204);
    assert_eq!(local.invoke_on("made:1", json!({})).status, 404);
}

#[test]
fn aliases_point_move_and_split() {
    let local = Local::start("");
    created(&local, "made");
    local.call("POST", &format!("{FUNCTIONS}/made/versions"), json!({}));
    update(&local, "made", json!({ "MemorySize": 512 }));
    settled(&local, "made");
    local.call("POST", &format!("{FUNCTIONS}/made/versions"), json!({}));
    let aliases = format!("{FUNCTIONS}/made/aliases");
    let body = json!({ "Name": "live", "FunctionVersion": "1" });
    let made = local.call("POST", &aliases, body.clone());
    assert_eq!(
        (made.status, made.json()["AliasArn"].as_str()),
        (201, Some("arn:aws:lambda:us-east-1:000000000000:function:made:live"))
    );
    assert_eq!(local.call("POST", &aliases, body).status, 409);
    assert_eq!(local.call("POST", &aliases, json!({ "Name": "no", "FunctionVersion": "7" })).status, 404);
    assert_eq!(local.call("POST", &aliases, json!({ "Name": "12", "FunctionVersion": "1" })).status, 400);
    let executed =
        || local.invoke_on("made:live", json!({})).header("x-amz-executed-version").unwrap().to_owned();
    assert_eq!(executed(), "1");
    let weights = json!({ "RoutingConfig": { "AdditionalVersionWeights": { "2": 0.5 } } });
    assert_eq!(local.call("PUT", &format!("{aliases}/live"), weights).status, 200);
    let second = (0..40).filter(|_| executed() == "2").count();
    assert!((5..=35).contains(&second), "{second} of 40 went to the second version");
    let moved = json!({ "FunctionVersion": "2", "RoutingConfig": {} });
    assert_eq!(local.call("PUT", &format!("{aliases}/live"), moved).status, 200);
    assert_eq!(executed(), "2");
    let stale =
        local.call("PUT", &format!("{aliases}/live"), json!({ "RevisionId": "old", "FunctionVersion": "1" }));
    assert_eq!((stale.status, error_type(&stale)), (412, "PreconditionFailedException"));
    assert_eq!(local.call("GET", &aliases, Value::Null).json()["Aliases"].as_array().unwrap().len(), 1);
    assert_eq!(local.call("DELETE", &format!("{FUNCTIONS}/made?Qualifier=2"), Value::Null).status, 409);
    assert_eq!(local.call("DELETE", &format!("{aliases}/live"), Value::Null).status, 204);
    assert_eq!(local.call("GET", &format!("{aliases}/live"), Value::Null).status, 404);
    assert_eq!(local.invoke_on("made:live", json!({})).status, 404);
}

#[test]
fn new_code_replaces_the_old() {
    let local = Local::start("");
    created(&local, "made");
    let path = format!("{FUNCTIONS}/made/code");
    let before = local.call("GET", &format!("{FUNCTIONS}/made/configuration"), Value::Null).json();
    let dry = local.call("PUT", &path, json!({ "ZipFile": Local::zip(), "DryRun": true })).json();
    assert_eq!(dry["RevisionId"], before["RevisionId"]);
    let got = local.call(
        "PUT",
        &path,
        json!({ "ZipFile": Local::zip(), "Publish": true, "Architectures": ["arm64"] }),
    );
    assert_eq!(
        (got.status, &got.json()["Version"], &got.json()["Architectures"]),
        (200, &json!("1"), &json!(["arm64"]))
    );
    settled(&local, "made");
    assert_eq!(local.invoke_on("made", json!({})).status, 200);
}

#[test]
fn a_deleted_function_is_gone_with_its_sandboxes() {
    let local = Local::start("");
    created(&local, "made");
    local.invoke_on("made", json!({}));
    assert_eq!(local.call("DELETE", &format!("{FUNCTIONS}/made"), Value::Null).status, 204);
    let got = local.invoke_on("made", json!({}));
    assert_eq!((got.status, error_type(&got)), (404, "ResourceNotFoundException"));
    assert!(
        got.text.contains("Function not found: arn:aws:lambda:us-east-1:000000000000:function:made"),
        "{}",
        got.text
    );
    eventually("its sandboxes are gone", || local.sandboxes().is_empty());
    assert_eq!(
        local.call("POST", FUNCTIONS, Local::create_body("made")).status,
        201,
        "the name is free again"
    );
}

#[test]
fn declared_functions_have_a_ladder_of_memory_sizes() {
    let local = Local::start("memory_mib = [512, 2048]\nlinks = { shared = '/usr/share' }");
    for (alias, memory, version) in [("mem-512", 512, "1"), ("mem-2048", 2048, "2")] {
        let got = local.invoke_on(&format!("probe:{alias}"), json!({ "command": "cpus" }));
        assert_eq!(
            (&got.json()["memory_mib"], got.header("x-amz-executed-version")),
            (&json!(memory), Some(version))
        );
    }
    let root =
        local.invoke(json!({ "command": "env" })).json()["LAMBDA_TASK_ROOT"].as_str().unwrap().to_owned();
    assert!(std::path::Path::new(&root).join("shared").is_dir());
    let listed = local.call("GET", FUNCTIONS, Value::Null).json();
    assert_eq!(listed["Functions"].as_array().unwrap().len(), 1);
}

#[test]
fn lists_come_in_pages() {
    let local = Local::start("memory_mib = [128, 256, 512]");
    let page = |marker: &str| {
        local.call("GET", &format!("{FUNCTIONS}/probe/versions?MaxItems=2{marker}"), Value::Null).json()
    };
    let first = page("");
    assert_eq!(first["Versions"].as_array().unwrap().len(), 2);
    let second = page(&format!("&Marker={}", first["NextMarker"].as_str().unwrap()));
    assert_eq!((second["Versions"].as_array().unwrap().len(), &second["NextMarker"]), (2, &Value::Null));
}

#[test]
fn what_is_not_emulated_says_so() {
    let local = Local::start("");
    let got = local.call("GET", "/2015-03-31/event-source-mappings", Value::Null);
    assert_eq!((got.status, error_type(&got)), (404, "UnknownOperationException"));
}
