from loupe.data import hrbench


def test_the_rotations_of_a_question_share_a_cluster_where_pictures_are_files():
    row = {"index": 3, "question": "What is it?", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "A"}

    def cluster(cycle: str, path: str) -> str | None:
        given = {"category": "single", "cycle_category": cycle, "image": {"bytes": None, "path": path}}
        return hrbench.example(row | given, "hrbench_4k").cluster

    assert cluster("0", "/data/3.jpg") == cluster("1", "/data/3.jpg") != cluster("0", "/data/4.jpg")
