import pytest

from loupe.rewards.choice import chosen_option

MATERIALS = ["rubber", "cotton", "dark leather", "leather"]


@pytest.mark.parametrize(
    "answer",
    [
        *("A", "a", "(A)", "(a)", "A.", "A)", "a)", "A:", " A \n", "**A**", "A. rubber", "(A) rubber", "A rubber"),
        *("the answer is (a) rubber", "The answer is A", "Answer: A", "answer is: (A).", "The correct option is A."),
        *("Option A", "rubber", "Rubber.", "It is made of rubber.", "I think it's (A)", "The letter is A"),
        *("The answer is A rubber", "A, because it bends", "The answer is **A**"),
    ],
)
def test_the_first_option_in_all_its_forms(answer):
    assert chosen_option(answer, MATERIALS) == 0


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("B is right", 1),
        ("I would say D", 3),
        ("leather", 3),
        ("dark leather", 2),
        ("The glove is of dark leather, I think", 2),
        ("D. dark leather", 3),  # the letter counts
        ("(C) rubber", 2),
        ("The answer is cotton", 1),
    ],
)
def test_others(answer, number):
    assert chosen_option(answer, MATERIALS) == number


@pytest.mark.parametrize(
    "answer",
    [
        *("", "   ", "?", "none of them", "a glove", "A glove", "The answer is a glove", "(A) or (B)"),
        *("rubber or cotton", "E", "A or B", "B or C", "(A) and (C)", "B/C", "A glove of rubber or cotton"),
        *("(Z)", "I cannot tell", "42", "glass", "Is it A or B?", "A, B, C or D", "A, B", "Is it B or A?"),
    ],
)
def test_no_option_is_guessed(answer):
    assert chosen_option(answer, MATERIALS) is None


def test_the_text_of_spatial_options():
    options = ["The dog is on the left side of the cat.", "The dog is on the right side of the cat."]
    assert chosen_option("The dog is on the right side of the cat", options) == 1
    assert chosen_option("A. The dog is on the left side of the cat.", options) == 0
    assert chosen_option("A dog is on the left", options) is None


def test_options_that_are_letters_or_numbers():
    assert chosen_option("B", ["B", "C", "A", "D"]) == 1  # one is asked for a letter
    assert chosen_option("12", ["7", "12"]) == 1
    assert chosen_option("112", ["7", "12"]) is None
    assert chosen_option("x", []) is None


@pytest.mark.parametrize("letter", "ABCD")
@pytest.mark.parametrize(
    "answer",
    [
        *("Option {} is correct.", "The answer is {} as the crop shows.", "{} because it is visible.", "{} is correct"),
        *("The answer is {} because the glove is old", "I choose option {} since it fits", "Answer: {} in the picture"),
        *("It must be {}", "{}, since it is visible", "{} seems right", "My choice is {} with some doubt"),
    ],
)
def test_every_letter_is_read_alike(answer, letter):
    assert chosen_option(answer.format(letter), MATERIALS) == "ABCD".index(letter)


def test_an_announced_letter_comes_before_the_text_of_an_option():
    assert chosen_option("The answer is A because the dog is on the left of it", ["right", "left"]) == 0


def test_none_of_the_above_is_not_the_option_above():
    options = ["above", "below"]
    assert chosen_option("It is above the table", options) == 0
    assert chosen_option("None of the above", options) is None
    assert chosen_option("None of the above", ["above", "None of the above"]) == 1


@pytest.mark.parametrize(
    "said",
    ["A ", "a ", "(A) ", "(", " ", "/", "A, ", "A or ", "answer ", "answer:", "answer is ", "option ", "none of ", "x"],
)
def test_reading_takes_time_linear_in_the_length(said):
    """At this length, a quadratic way would take minutes for one of these."""
    for answer in (said * 50_000, f"answer is A{said * 50_000}x"):
        assert chosen_option(answer, ["rubber", "cotton"]) in (None, 0)


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("B. Option A does not fit", 1),
        ("Option A is wrong, so the answer is B.", 1),
        ("Answer: B. Choice A is ruled out", 1),
        ("The answer is B. I repeat: answer B.", 1),
        ("I choose option B. rubber and cotton are too soft", 1),
        ("Choice A is ruled out; B.", None),
        ("The answer: cotton. Option A is false.", None),
        ("The answer is A. No, the answer is B.", None),
        ("(A)(B)", None),
        ("(A) (B)", None),
        ("(A) (the first)", 0),
        ("Option A or option B", None),
    ],
)
def test_an_option_that_is_only_talked_about_is_not_the_answer(answer, number):
    assert chosen_option(answer, MATERIALS) == number
