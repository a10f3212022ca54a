using System.Runtime.CompilerServices;
using System.Text;
using Xunit;

namespace Storage.Tests.Consensus;

/// <summary>
/// The Raft state machine by scripts: <c>tests/vectors/raft/*.txt</c> hold commands and, indented below each, what the nodes said and wrote. With
/// STORAGE_REWRITE_GOLDEN=1 the files are written anew, to be reviewed as a diff.
/// </summary>
public class RaftGoldenTests
{
    private static readonly bool s_rewrites = Environment.GetEnvironmentVariable("STORAGE_REWRITE_GOLDEN") == "1";

    public static TheoryData<string> Scripts => [.. Directory.GetFiles(Folder(), "*.txt").Select(file => Path.GetFileName(file)!).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Scripts))]
    public void TheNodesDoWhatTheScriptSays(string name)
    {
        string path = Path.Combine(Folder(), name);
        string expected = File.ReadAllText(path).ReplaceLineEndings("\n");
        var actual = new StringBuilder();
        var script = new RaftScript();
        foreach (string line in expected.Split('\n').Where(line => !line.StartsWith("    ", StringComparison.Ordinal)))
        {
            actual.Append(line).Append('\n');
            if (line.Length > 0 && line[0] != '#')
            {
                foreach (string said in script.Execute(line).Split('\n', StringSplitOptions.RemoveEmptyEntries))
                {
                    actual.Append("    ").Append(said).Append('\n');
                }
            }
        }

        actual.Length--; // the file's last line end made an empty line
        if (s_rewrites)
        {
            File.WriteAllText(path, actual.ToString());
        }

        Assert.Equal(expected, s_rewrites ? expected : actual.ToString());
    }

    private static string Folder([CallerFilePath] string source = "") =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(source)!, "..", "..", "vectors", "raft"));
}
