/* What cli.h promises of a chapter with several tasks: the word of its choice tells which presets the options start from,
 * wherever on the line it stands and however it is shortened; --help shows those; and a word that is none is refused with
 * the list. Every call is a process of its own, which prints on stderr the struct that it comes to. tests/cli.sh asks the
 * chapters.                                                                                                                */
#include "cli.h"
#include "unit.h"

enum { ARGS = 8 };

typedef struct { const char *task, *note; int hidden; double rate; } Config;

static const Option options[] = {
    { "task", OPTION_CHOICE, offsetof(Config, task), 0, 0, "copy, words or text: what to learn" },
    { "note", OPTION_TEXT, offsetof(Config, note), 0, 0, "any text" },
    { "hidden", OPTION_INT, offsetof(Config, hidden), 1, 1000, "width" },
    { "rate", OPTION_REAL, offsetof(Config, rate), 0, 1, "step" },
};

static const Config copy[PRESETS] = { { "copy", "c", 11, 0.5 }, { "copy", "c", 12, 0.5 }, { "copy", "c", 13, 0.5 } };
static const Config words[PRESETS] = { { "words", "w", 21, 0.25 }, { "words", "w", 22, 0.25 }, { "words", "w", 23, 0.25 } };
static const Config text[PRESETS] = { { "text", "t", 31, 0.125 }, { "text", "t", 32, 0.125 }, { "text", "t", 33, 0.125 } };

static const void *const of_task[][PRESETS] = {
    { &copy[0], &copy[1], &copy[2] }, { &words[0], &words[1], &words[2] }, { &text[0], &text[1], &text[2] },
};

static const Cli with_choice = { .about = "About.", .options = options, .count = 4, .presets = { &copy[0], &copy[1], &copy[2] },
                                 .size = sizeof(Config), .choice = "task", .of_choice = of_task };
static const Cli without = { .about = "About.", .options = options, .count = 4, .presets = { &copy[0], &copy[1], &copy[2] },
                             .size = sizeof(Config) };

static const Cli *cli;
static const char *const *args;

static void parse(void)
{
    char *argv[ARGS + 2] = { "build/some/program" };
    int argc = 1;
    Config c;
    for (; argc <= ARGS && args[argc - 1]; argc++) argv[argc] = (char *)args[argc - 1];
    dup2(STDERR_FILENO, STDOUT_FILENO);                                  /* --help, too, goes where the test reads */
    cli_parse(cli, argc, argv, &c);
    fprintf(stderr, "%s %s %d %g\n", c.task, c.note, c.hidden, c.rate);
}

/* The arguments in one line, for messages. */
static const char *line_of(const char *const *given)
{
    static char line[200];
    line[0] = '\0';
    for (int i = 0; i < ARGS && given[i]; i++) snprintf(line + strlen(line), sizeof line - strlen(line), " %s", given[i]);
    return line;
}

static int run(const Cli *with, const char *const *arguments, char *said, size_t room)
{
    cli = with, args = arguments;
    return unit_child(parse, said, room);
}

typedef struct { const char *args[ARGS], *want; } Case;

static void expect_all(const Cli *with, const Case *row, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char said[2000];
        int status = run(with, row[i].args, said, sizeof said);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status 0x%x", line_of(row[i].args), (unsigned)status);
        EXPECT(strcmp(said, row[i].want) == 0, "%s: expected \"%s\", got \"%s\"", line_of(row[i].args), row[i].want, said);
    }
}

#define EXPECT_ALL(with, row) expect_all(with, row, sizeof row / sizeof *row)

static void test_presets_of_the_choice(void)
{
    static const Case row[] = {
        { { NULL }, "copy c 12 0.5\n" },
        { { "--task", "copy" }, "copy c 12 0.5\n" },
        { { "--task", "words" }, "words w 22 0.25\n" },
        { { "--task", "text" }, "text t 32 0.125\n" },
        { { "--task=words" }, "words w 22 0.25\n" },
        { { "--preset", "quick" }, "copy c 11 0.5\n" },
    };
    EXPECT_ALL(&with_choice, row);
}

static void test_order_of_options(void)
{
    static const Case row[] = {
        { { "--task", "words", "--preset", "reference" }, "words w 23 0.25\n" },
        { { "--preset", "reference", "--task", "words" }, "words w 23 0.25\n" },
        { { "--hidden", "5", "--task", "text", "--preset", "quick" }, "text t 5 0.125\n" },
        { { "--task", "text", "--preset", "quick", "--hidden", "5" }, "text t 5 0.125\n" },
        { { "--preset", "quick", "--rate", "1", "--task", "text" }, "text t 31 1\n" },
        { { "--task", "words", "--hidden", "5", "--task", "text" }, "text t 5 0.125\n" },     /* of two, the last */
        { { "--note", "words", "--task", "text" }, "text words 32 0.125\n" },                 /* no other option's word */
        { { "--note=--task", "--hidden", "5" }, "copy --task 5 0.5\n" },
    };
    EXPECT_ALL(&with_choice, row);
}

static void test_abbreviations(void)
{
    static const Case row[] = {
        { { "--ta", "words" }, "words w 22 0.25\n" },
        { { "--t=text", "--p", "quick" }, "text t 31 0.125\n" },
        { { "--pre=reference", "--tas", "words" }, "words w 23 0.25\n" },
    };
    EXPECT_ALL(&with_choice, row);
}

/* Where presets are not by choice, an OPTION_CHOICE is an option like any other. */
static void test_without_choice(void)
{
    static const Case row[] = {
        { { NULL }, "copy c 12 0.5\n" },
        { { "--task", "words" }, "words c 12 0.5\n" },
        { { "--task", "text", "--preset", "reference" }, "text c 13 0.5\n" },
    };
    EXPECT_ALL(&without, row);
}

static void test_help(void)
{
    static const struct { const Cli *cli; const char *args[ARGS], *hidden, *rate; bool depends; } row[] = {
        { &with_choice, { "--help" }, "[11 | 12 | 13]", "[0.5]", true },
        { &with_choice, { "--help", "--task", "words" }, "[21 | 22 | 23]", "[0.25]", true },
        { &with_choice, { "--task", "text", "--help" }, "[31 | 32 | 33]", "[0.125]", true },
        { &with_choice, { "--ta=text", "--preset", "quick", "-h" }, "[31 | 32 | 33]", "[0.125]", true },
        { &without, { "--help", "--task", "words" }, "[11 | 12 | 13]", "[0.5]", false },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char said[4000];
        int status = run(row[i].cli, row[i].args, said, sizeof said);
        const char *line = line_of(row[i].args);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: status 0x%x", line, (unsigned)status);
        EXPECT(strstr(said, row[i].hidden) && strstr(said, row[i].rate), "%s: no %s in \"%s\"", line, row[i].hidden, said);
        EXPECT((strstr(said, "depend on --task") != NULL) == row[i].depends, "%s says of presets: \"%s\"", line, said);
    }
}

/* `or` stands between the last two words, and is none; nor is a part of a word, two of them, or what comes behind the colon. */
static void test_wrong_words(void)
{
    static const char *const wrong[] = { "or", "word", "wordss", "WORDS", "copy,", "copy, words", "what", ":", ",", " ", "" };
    for (int i = 0; i < (int)(sizeof wrong / sizeof *wrong); i++)
        for (int with = 0; with <= 1; with++) {
            const char *const arguments[ARGS] = { "--hidden", "5", "--task", wrong[i] };
            char said[1000];
            int status = run(with ? &with_choice : &without, arguments, said, sizeof said);
            EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 2, "'%s': status 0x%x", wrong[i], (unsigned)status);
            EXPECT(strstr(said, "program: --task"), "'%s' said \"%s\"", wrong[i], said);
            EXPECT((!with && !*wrong[i]) || strstr(said, "expected copy, words or text\n"), "'%s' said \"%s\"", wrong[i], said);
            EXPECT(strchr(said, '\n') && strchr(said, '\n')[1] == '\0', "'%s' said more than a line: \"%s\"", wrong[i], said);
        }
}

/* All that was wrong before is still so: the other options are read after the presets. */
static void test_other_errors(void)
{
    static const struct { const char *args[ARGS], *says; } row[] = {
        { { "--task", "words", "--preset", "slow" }, "--preset 'slow': expected quick, default or reference" },
        { { "--task", "words", "--hidden", "0" }, "--hidden 0: expected a number from 1 to 1000" },
        { { "--hidden", "5", "--task" }, "--task: expected a value after it" },
        { { "--task", "text", "words" }, "'words': expected an option" },
        { { "--tasks", "text" }, "--tasks: no such option" },
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        char said[1000];
        int status = run(&with_choice, row[i].args, said, sizeof said);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 2, "%s: status 0x%x", line_of(row[i].args), (unsigned)status);
        EXPECT(strstr(said, row[i].says), "%s: expected \"%s\", got \"%s\"", line_of(row[i].args), row[i].says, said);
    }
}

int main(void)
{
    RUN(test_presets_of_the_choice);
    RUN(test_order_of_options);
    RUN(test_abbreviations);
    RUN(test_without_choice);
    RUN(test_help);
    RUN(test_wrong_words);
    RUN(test_other_errors);
    return unit_result();
}
