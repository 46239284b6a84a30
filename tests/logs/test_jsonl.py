from loupe.logs.jsonl import keep_rows


def test_unwanted_rows_and_a_torn_line_are_dropped(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 1, "b": 0.5}\n{"step": 1, "c')
    assert keep_rows(path, lambda row: row["step"] == 1) == [{"step": 1}, {"step": 1, "b": 0.5}]
    assert path.read_text() == '{"step": 1}\n{"step": 1, "b": 0.5}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]
