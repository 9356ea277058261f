//! Data sets in and out: JSON Lines, CSV, Parquet, in order if asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use gateway_bulk::{DataFormat, JobState, Location};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;

use crate::support::{Act, Call, Function, expected, world, world_of};

const VECTORS: &str = "name = 'echo'\nversion = '1'\nengine = 'identity'\n\
    inputs = [{ name = 'x', datatype = 'FP32', shape = [2] }]\n\
    outputs = [{ name = 'y', datatype = 'FP32', shape = [2] }]";

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>, group_rows: usize) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn csv_with_quotes_and_line_feeds_in_fields_goes_through() {
    let world = world().await;
    let path = world.path("in.csv");
    std::fs::write(
        &path,
        "id,other,text\ni0,1,\"a \"\"quoted\"\" word\"\ni1,2,\"two\nlines\"\ni2,3,plain\ni3,4\n",
    )
    .unwrap();
    let job = world.run_new(&world.spec(&path), &Function::echo()).await;
    assert_eq!((job.state, job.counts.completed, job.counts.failed), (JobState::Completed, 3, 1));
    let output = world.sorted_output();
    assert_eq!(output[0], r#"{"id":"i0","y":["a \"quoted\" word"]}"#);
    assert_eq!(output[1], r#"{"id":"i1","y":["two\nlines"]}"#);
    assert_eq!(world.errors()[0].0, 4, "the short row");
}

#[tokio::test]
async fn several_numeric_columns_become_one_vector_and_come_out_as_parquet() {
    let world = world_of(VECTORS, None).await;
    let path = world.path("in.csv");
    let rows: String = (0..3000).map(|row| format!("{row},{},{}\n", f64::from(row) * 0.1, -row)).collect();
    std::fs::write(&path, format!("id,a,b\n{rows}")).unwrap();
    let mut spec = world.spec(&path);
    spec.input.columns = BTreeMap::from([("x".to_owned(), vec!["a".to_owned(), "b".to_owned()])]);
    spec.output.location = Location::Local(world.path("out.parquet"));
    spec.output.format = DataFormat::Parquet;
    spec.output.is_sorted = true;
    spec.chunk.max_items = 128;
    let job = world.run_new(&spec, &Function::echo()).await;
    assert_eq!((job.state, job.counts.completed), (JobState::Completed, 3000), "{:?}", job.failure);
    let file = std::fs::File::open(world.path("out.parquet")).unwrap();
    let mut row = 0_u16;
    for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let (ids, vectors) = (batch.column(0).as_string::<i32>(), batch.column(1).as_list::<i32>());
        for index in 0..batch.num_rows() {
            assert_eq!(ids.value(index), row.to_string());
            let vector = vectors.value(index);
            let vector = vector.as_primitive::<Float32Type>();
            assert_eq!(vector.values(), &[(f64::from(row) * 0.1) as f32, -f32::from(row)]);
            row += 1;
        }
    }
    assert_eq!(row, 3000);
}

#[tokio::test]
async fn parquet_goes_in_over_its_row_groups_and_comes_out_as_csv() {
    let world = world().await;
    let path = world.path("in.parquet");
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2500));
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..2500).map(|row| format!("text {row}, with \"marks\""))));
    let scores: ArrayRef = Arc::new(Float32Array::from_iter_values((0_u16..2500).map(f32::from)));
    write_parquet(&path, vec![("id", ids), ("score", scores), ("text", texts)], 700);
    let mut spec = world.spec(&path);
    spec.output.location = Location::Local(world.path("out.csv"));
    spec.output.format = DataFormat::Csv;
    spec.output.is_sorted = true;
    let job = world.run_new(&spec, &Function::echo()).await;
    assert_eq!((job.state, job.counts.completed), (JobState::Completed, 2500), "{:?}", job.failure);
    let mut reader = csv::Reader::from_path(world.path("out.csv")).unwrap();
    assert_eq!(reader.headers().unwrap(), vec!["id", "y"]);
    for (row, record) in reader.records().enumerate() {
        let record = record.unwrap();
        assert_eq!(&record[0], row.to_string());
        assert_eq!(&record[1], format!("text {row}, with \"marks\""));
    }
}

#[tokio::test]
async fn sorted_output_is_in_the_order_of_the_input_however_chunks_end() {
    let world = world().await;
    let mut spec = world.spec(&world.input(500));
    spec.output.is_sorted = true;
    let function = Function::new(|call: &Call| {
        // Later chunks end first.
        std::thread::sleep(std::time::Duration::from_millis(if call.n.is_multiple_of(4) { 15 } else { 1 }));
        Act::Echo(Vec::new())
    });
    let job = world.run_new(&spec, &function).await;
    assert_eq!(job.state, JobState::Completed);
    let ids: Vec<String> =
        (0..500).map(|line| format!("{{\"id\":\"i{line}\",\"y\":[\"text {line}\"]}}")).collect();
    assert_eq!(world.read("out.jsonl").lines().collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn a_column_that_is_not_there_fails_the_job_by_name() {
    let world = world().await;
    let path = world.path("in.csv");
    std::fs::write(&path, "id,body\n1,a\n").unwrap();
    let job = world.run_new(&world.spec(&path), &Function::echo()).await;
    assert_eq!(job.state, JobState::Failed);
    assert!(job.failure.unwrap().message.contains("`text`"));
}

#[tokio::test]
async fn chunks_hold_to_the_bytes_of_a_request() {
    let world = world().await;
    let path = world.path("in.jsonl");
    let long = "x".repeat(30_000);
    let lines: String = (0..40).map(|line| format!("{{\"id\":\"i{line}\",\"text\":\"{long}\"}}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    let mut spec = world.spec(&path);
    spec.chunk.max_items = 1000;
    spec.chunk.max_request_bytes = 200_000;
    let function = Function::echo();
    let job = world.run_new(&spec, &function).await;
    assert_eq!((job.state, job.counts.completed), (JobState::Completed, 40));
    assert!(
        function.sizes.lock().unwrap().iter().all(|&size| size <= 4),
        "30,000 bytes are 40,000 in base64"
    );
    assert_eq!(expected(0, &[]).len(), 0);
}
