using Storage.Cli.Commands;
using Storage.Crush.Testing;

namespace Storage.Cli.Offline;

/// <summary><c>crush compile|decompile|test</c> on files, also in crushtool's own spelling (<c>-c</c>, <c>-d</c>, <c>-i MAP --test</c>).</summary>
internal static class CrushOffline
{
    private static readonly string[] s_verbs = ["compile", "decompile", "test"];

    /// <summary>Whether the command line is for this parser.</summary>
    public static bool Matches(IReadOnlyList<string> arguments) =>
        arguments.Count > 2
        && arguments[0] == "crush"
        && (s_verbs.Contains(arguments[1]) || arguments[1] is "-c" or "-d" or "-i")
        && !arguments.Any(argument => argument is "-h" or "--help" or "-?");

    public static int Run(IReadOnlyList<string> arguments)
    {
        try
        {
            return CrushCommand.Run(Translate([.. arguments.Skip(1)]), Console.Out, Console.Error);
        }
        finally
        {
            Console.Out.Flush();
        }
    }

    /// <summary>Brings crushtool's spelling into the form VERB MAP OPTIONS.</summary>
    internal static List<string> Translate(List<string> words)
    {
        switch (words[0])
        {
            case "-c":
                words[0] = "compile";
                return words;
            case "-d":
                words[0] = "decompile";
                return words;
            case "-i":
                words.Insert(0, "test");
                break;
        }

        int input = words.FindIndex(word => word is "-i" or "--infn");
        if (input > 0 && input + 1 < words.Count)
        {
            string map = words[input + 1];
            words.RemoveRange(input, 2);
            words.Insert(1, map);
        }

        return words;
    }

    /// <summary>An entry for the help; its arguments never reach it, see <see cref="Matches"/>.</summary>
    public static Verb Described(string name, string description, params string[] examples) =>
        new Verb(name, description, examples).Does((_, _) => throw new CliException($"a map file is missing.\n{CrushCommand.Usage}"));
}
