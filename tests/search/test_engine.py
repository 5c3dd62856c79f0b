from __future__ import annotations

import sys
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.errors import NotFound, SettingError, StoreError
from vetrina.index.reader import Index, open_folder
from vetrina.index.rows import META_SCHEMA
from vetrina.index.settings import IndexSettings, Penalties, pair_penalty
from vetrina.search.answers import Answer, Query
from vetrina.search.engine import SearchEngine

sys.path.insert(0, str(Path(__file__).parents[1] / "index"))  # the samples live beside the index tests

from index_samples import LABELS, ODD_IDS, PLAIN, Item, built, opened, shop, table, unit

DIMS = 6
PENALTIES = Penalties(0.1, 0.05)


def oracle(
    items: Iterable[Item],
    query: Query,
    k: int,
    *,
    penalties: Penalties,
    exclude: Collection[str] = (),
    classes: Collection[str] | None = None,
    min_score: float = -9.0,
) -> tuple[list[tuple[str, float]], int]:
    """The same search by loops over everything."""
    scores: dict[str, float] = {}
    for product, _, kind, label, _, vector in items:
        if product in exclude or (classes is not None and label not in classes):
            continue
        for row, query_kind in zip(query.vectors.astype(float), query.kinds, strict=True):
            wide = vector.astype(float)
            cosine = float(row @ wide / np.linalg.norm(row) / np.linalg.norm(wide))
            score = cosine - pair_penalty(query_kind, kind, penalties)
            scores[product] = max(score, scores.get(product, -9.0))
    ranked = sorted(scores.items(), key=lambda entry: (-round(entry[1], 9), entry[0]))
    return [entry for entry in ranked if entry[1] >= min_score][:k], len(scores)


def assert_same(answer: Answer, expected: list[tuple[str, float]]) -> None:
    """Equal scores at every rank, and equal ids wherever scores are not nearly tied."""
    got = [neighbour.score for neighbour in answer.neighbours]
    assert np.allclose(got, [score for _, score in expected], atol=1e-6), (got, expected)
    ids = [neighbour.product_id for neighbour in answer.neighbours]
    assert len(set(ids)) == len(ids)
    for rank, (product, score) in enumerate(expected):
        near = [other for at, (_, other) in enumerate(expected) if at != rank]
        last = rank == len(expected) - 1
        if all(abs(other - score) > 1e-6 for other in near) and not last:
            assert ids[rank] == product


ids = st.one_of(st.sampled_from(ODD_IDS), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4))
# A coarse grid makes ties and copies common.
vectors = st.lists(st.integers(-2, 2), min_size=DIMS, max_size=DIMS).filter(any)


@st.composite
def shops(draw: st.DrawFn) -> list[Item]:
    items: list[Item] = []
    for number, product in enumerate(draw(st.lists(ids, min_size=1, max_size=12, unique=True))):
        kinds = draw(st.lists(st.sampled_from(["whole", "crop", "crop"]), min_size=1, max_size=4))
        for at, kind in enumerate(kinds):
            label = draw(st.sampled_from(LABELS)) if kind == "crop" else None
            score = 0.5 if label else None
            vector = unit(np.array(draw(vectors), float))
            items.append((product, f"c{number}-{at}", kind, label, score, vector))
    return items


def queries(items: list[Item]) -> st.SearchStrategy[Query]:
    rows = st.lists(st.tuples(vectors, st.sampled_from(["whole", "crop"])), min_size=1, max_size=3)
    return rows.map(
        lambda rows: Query(unit(np.array([row for row, _ in rows], float)), tuple(kind for _, kind in rows))
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), items=shops())
def test_an_exact_answer_equals_brute_force_under_every_filter(data: st.DataObject, items: list[Item]) -> None:
    products = sorted({item[0] for item in items})
    query = data.draw(queries(items))
    k = data.draw(st.integers(1, 15))
    exclude = data.draw(st.lists(st.sampled_from([*products, "never heard of"]), max_size=5))
    removed = data.draw(st.sets(st.sampled_from(products), max_size=3))
    classes = data.draw(st.none() | st.sets(st.sampled_from(LABELS)))
    floor = data.draw(st.none() | st.sampled_from([-0.5, 0.3]))
    in_tail = data.draw(st.sets(st.sampled_from(products), max_size=len(products) - 1))
    stale = [(p, "old", kind, label, s, -v) for p, _, kind, label, s, v in items if p in in_tail]
    body = [item for item in items if item[0] not in in_tail] + stale[: data.draw(st.integers(0, 3))]
    tail = [item for item in items if item[0] in in_tail]
    with tempfile.TemporaryDirectory() as folder:
        settings = IndexSettings(
            projection_dims=None,
            crop_penalty=0.1,
            crop_crop_penalty=0.05,
            serve_with=data.draw(st.sampled_from(["annoy", "exact"])),
        )
        index = opened(body, Path(folder), settings)
        engine = SearchEngine(index, tail=table(tail, "b2") if tail else None, removed=removed)
        answer = engine.search(query, k, exclude=exclude, classes=classes, min_score=floor)
        hidden = {*exclude, *removed}
        expected, available = oracle(
            items, query, k, penalties=PENALTIES, exclude=hidden, classes=classes, min_score=floor or -9.0
        )
        assert answer.available == available
        # A score on the edge of the floor may fall on either side by rounding.
        if floor is None or len(answer.neighbours) == len(expected):
            assert_same(answer, expected)
        if floor is None:
            assert len(answer.neighbours) == min(k, available)


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return shop(3000, 8, seed=3, clusters=60)


@pytest.fixture(scope="module")
def index(items: list[Item], tmp_path_factory: pytest.TempPathFactory) -> Index:
    settings = IndexSettings(projection_dims=None, serve_with="annoy", crop_penalty=0.02)
    return opened(items, tmp_path_factory.mktemp("index"), settings)


def test_the_annoy_path_finds_nearly_all_true_neighbours_and_scores_them_exactly(index: Index) -> None:
    engine = SearchEngine(index)
    found = total = approximate = 0
    for number in range(0, 3000, 60):
        query = engine.product_query(f"p{number:05d}")
        truth = {n.product_id: n for n in engine.search(query, 10, exact=True).neighbours}
        answer = engine.search(query, 10)
        approximate += not answer.exact
        for neighbour in answer.neighbours:
            found += neighbour.product_id in truth
            assert truth.get(neighbour.product_id, neighbour) == neighbour
        total += 10
    assert approximate > 40, "the test must exercise Annoy"
    assert found / total >= 0.98


def test_the_annoy_path_fills_k_past_excluded_and_removed_products(index: Index) -> None:
    engine = SearchEngine(index)
    query = engine.product_query("p00000")
    nearest = [n.product_id for n in engine.search(query, 60, exact=True).neighbours]
    engine = SearchEngine(index, removed=nearest[:25])
    answer = engine.search(query, 10, exclude=nearest[25:50])
    assert len(answer.neighbours) == 10
    assert not {n.product_id for n in answer.neighbours} & set(nearest[:50])
    assert [n.product_id for n in answer.neighbours] == nearest[50:]
    assert answer.available == 3000 - 50


def test_asking_for_more_products_than_there_are_returns_all_of_them(index: Index) -> None:
    answer = SearchEngine(index).search(SearchEngine(index).product_query("p00007"), 5000)
    assert len(answer.neighbours) == answer.available == 3000
    assert answer.exact


def test_a_class_filter_fills_k_and_returns_items_of_the_class_only(index: Index) -> None:
    engine = SearchEngine(index)
    answer = engine.search(engine.product_query("p00001"), 40, classes={"Chair"})
    assert len(answer.neighbours) == 40
    assert {n.item.label for n in answer.neighbours} == {"Chair"}
    assert engine.search(engine.product_query("p00001"), 3, classes={"Spaceship"}).available == 0


def test_a_tail_gives_the_answers_of_a_full_rebuild(items: list[Item], tmp_path: Path) -> None:
    some = items[:900]
    old = [item for item in some if item[0] < "p00300"]
    new = some[len(old) :]
    changed = [(old[0][0], "new", "whole", None, None, new[5][5])]
    engine = SearchEngine(opened(old, tmp_path / "old"), tail=[table(new, "b2"), table(changed, "b3")])
    rebuilt = SearchEngine(opened([i for i in some if i[0] != old[0][0]] + changed, tmp_path / "all"))
    assert engine.products == rebuilt.products
    for product in (old[0][0], old[-1][0], new[0][0], new[-1][0]):
        assert (engine.product_query(product).vectors == rebuilt.product_query(product).vectors).all()
        left = engine.search(engine.product_query(product), 25)
        right = rebuilt.search(rebuilt.product_query(product), 25)
        assert [(n.product_id, n.score, n.item.crop_id) for n in left.neighbours] == [
            (n.product_id, n.score, n.item.crop_id) for n in right.neighbours
        ]


def test_a_projected_tail_scores_like_the_same_items_in_the_index(tmp_path: Path) -> None:
    some = shop(300, 24, seed=5)
    index = opened(some, tmp_path, IndexSettings(projection_dims=8))
    assert index.projection is not None
    copies = [(f"copy-{p}", c, kind, label, s, v) for p, c, kind, label, s, v in some[:50]]
    engine = SearchEngine(index, tail=table(copies))
    for product in {item[0] for item in copies}:
        query = Query(
            np.array([i[5] for i in copies if i[0] == product]), ("whole",) * sum(i[0] == product for i in copies)
        )
        scores = {n.product_id: n.score for n in engine.search(query, 400).neighbours}
        if sum(i[0] == product for i in copies) == sum(f"copy-{i[0]}" == product for i in some):
            assert scores[product] == scores[product.removeprefix("copy-")]


def test_a_removed_product_stays_away_even_from_the_tail(items: list[Item], index: Index) -> None:
    engine = SearchEngine(index, tail=table([("fresh", "w", "whole", None, None, items[0][5])]), removed={"fresh"})
    assert "fresh" not in {n.product_id for n in engine.search(engine.product_query("p00000"), 5).neighbours}
    with pytest.raises(NotFound, match="fresh"):
        engine.product_query("fresh")


def test_an_unknown_product_is_answered_with_ids_that_look_alike(index: Index) -> None:
    with pytest.raises(NotFound, match=r"'p0012O' .*did you mean .*'p00120'"):
        SearchEngine(index).product_query("p0012O")


def test_identical_products_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    same = unit(np.arange(1.0, 8.0))
    many = [(f"{n:03d}", f"c{n}", "whole", None, None, same) for n in np.random.default_rng(0).permutation(700)]
    for serve in ("annoy", "exact"):
        settings = IndexSettings(projection_dims=4, serve_with=serve)
        engine = SearchEngine(
            opened(many, tmp_path / serve, settings), tail=table([("0005", "t", "whole", None, None, same)])
        )
        answer = engine.search(Query(same[None], ("whole",)), 8, exact=True)
        assert [n.product_id for n in answer.neighbours] == ["000", "0005", "001", "002", "003", "004", "005", "006"]
        assert len({n.score for n in answer.neighbours}) == 1
        assert len(engine.search(Query(same[None], ("whole",)), 8).neighbours) == 8


def test_one_product_has_no_neighbour_but_itself(tmp_path: Path) -> None:
    engine = SearchEngine(opened(shop(1, 5, crops=0), tmp_path))
    query = engine.product_query("p00000")
    assert [n.product_id for n in engine.search(query, 3).neighbours] == ["p00000"]
    answer = engine.search(query, 3, exclude={"p00000"})
    assert (answer.neighbours, answer.available) == ([], 0)


def test_odd_ids_are_found_searched_and_excluded_as_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    odd = [(name, f"c{n}", "whole", None, None, unit(rng.standard_normal(5))) for n, name in enumerate(ODD_IDS)]
    engine = SearchEngine(opened(odd, tmp_path))
    for name in ODD_IDS:
        answer = engine.search(engine.product_query(name), 20, exclude=[name, name])
        assert {n.product_id for n in answer.neighbours} == set(ODD_IDS) - {name}
        assert engine.search(engine.product_query(name), 1).neighbours[0].product_id == name
    with pytest.raises(NotFound):
        engine.product_query("lone \ud800 surrogate")


def test_crop_pairs_lose_the_penalty_and_the_cosine_is_reported_beside_the_score(tmp_path: Path) -> None:
    east, north = np.eye(2, dtype=np.float32)
    both = [("crop", "c", "crop", "Dress", 0.9, east), ("whole", "w", "whole", None, None, unit(east + north / 4))]
    engine = SearchEngine(opened(both, tmp_path), penalties=Penalties(0.2, 0.5))
    first, second = engine.search(Query(east[None], ("whole",)), 2).neighbours
    assert (first.product_id, second.product_id) == ("whole", "crop")
    assert (second.cosine, second.score) == (1.0, pytest.approx(0.8))
    assert engine.search(Query(east[None], ("crop",)), 2).neighbours[1].score == pytest.approx(0.5)
    assert second.item.label == "Dress" and second.item.box == (0.0, 0.25, 1.0, 0.75)


@pytest.mark.parametrize("k", [0, -3])
def test_a_k_below_one_is_a_setting_error(index: Index, k: int) -> None:
    engine = SearchEngine(index)
    with pytest.raises(SettingError, match="at least 1"):
        engine.search(engine.product_query("p00000"), k)


@pytest.mark.parametrize(
    ("vectors", "kinds"),
    [
        (np.ones((1, 3)), ("whole",)),
        (np.ones(8), ("whole",)),
        (np.ones((0, 8)), ()),
        (np.zeros((1, 8)), ("whole",)),
        (np.full((1, 8), np.nan), ("whole",)),
        (np.ones((1, 8)), ("whole", "crop")),
        (np.ones((1, 8)), ("hole",)),
    ],
)
def test_a_query_that_does_not_fit_the_index_is_refused(
    index: Index, vectors: np.ndarray, kinds: tuple[str, ...]
) -> None:
    with pytest.raises(SettingError):
        SearchEngine(index).search(Query(vectors.astype(np.float32), kinds), 3)


def test_a_tail_of_another_extractor_is_refused(index: Index) -> None:
    with pytest.raises(StoreError, match="'x' has 5 dimensions where 8"):
        SearchEngine(index, tail=table([("x", "c", "whole", None, None, unit(np.ones(5)))]))


def test_an_empty_tail_changes_nothing(index: Index) -> None:
    empty = table([("x", "c", "whole", None, None, unit(np.ones(8)))]).slice(0, 0)
    assert empty.schema.names[:-1] == META_SCHEMA.names
    assert SearchEngine(index, tail=[empty]).products == 3000


def test_a_rebuilt_index_answers_the_same_whatever_the_order_of_its_items(tmp_path: Path) -> None:
    some = shop(120, 7, seed=9)
    shuffled = [some[at] for at in np.random.default_rng(2).permutation(len(some))]
    built(some, tmp_path / "a", PLAIN)
    built(shuffled, tmp_path / "b", PLAIN)
    left, right = SearchEngine(open_folder(tmp_path / "a")), SearchEngine(open_folder(tmp_path / "b"))
    query = left.product_query("p00004")
    assert left.search(query, 50) == right.search(query, 50)
