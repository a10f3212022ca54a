using Storage.Cli.Commands;
using Storage.Crush.Testing;

namespace Storage.Cli.Offline;

/// <summary><c>crush compile|decompile|test</c> on files, also in crushtool's own spelling (<c>-c</c>, <c>-d</c>, <c>-i MAP --test</c>).</summary>
internal static class CrushOffline
{
    private static readonly string[] s_verbs = ["compile", "decompile", "test"];

    /// <summary>Whether the command line is for this parser.</summary>
    public static bool Matches(IReadOnlyList<string> arguments) =>
        WithoutCommon(arguments) is { Count: > 2 } words
        && words[0] == "crush"
        && (s_verbs.Contains(words[1]) || words[1] is "-c" or "-d" or "-i")
        && !words.Any(word => word is "-h" or "--help" or "-?");

    public static int Run(IReadOnlyList<string> arguments)
    {
        if (arguments.Contains(CommonOptions.Json.Name))
        {
            Console.Error.WriteLine($"storage: crush {WithoutCommon(arguments)[1]} prints what crushtool prints; there is no {CommonOptions.Json.Name} for it.");
            return Verb.Failure;
        }

        try
        {
            return CrushCommand.Run(Translate([.. WithoutCommon(arguments).Skip(1)]), Console.Out, Console.Error);
        }
        finally
        {
            Console.Out.Flush();
        }
    }

    // Which cluster is meant says nothing about a map in a file.
    private static List<string> WithoutCommon(IReadOnlyList<string> arguments)
    {
        var words = new List<string>();
        for (int i = 0; i < arguments.Count; i++)
        {
            if (arguments[i] == CommonOptions.Data.Name)
            {
                i++;
            }
            else if (arguments[i] != CommonOptions.Json.Name && !arguments[i].StartsWith(CommonOptions.Data.Name + "=", StringComparison.Ordinal))
            {
                words.Add(arguments[i]);
            }
        }

        return words;
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
