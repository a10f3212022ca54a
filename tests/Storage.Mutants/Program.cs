using System.Globalization;
using System.Text.RegularExpressions;

namespace Storage.Mutants;

/// <summary><c>make-mutants ROOT LIST</c>: rewrites the sources below ROOT, a copy, and writes the list of what was put in.</summary>
internal static partial class Program
{
    // What the simulator runs of the protocols; what only shows state to people is left out.
    private static readonly string[] s_folders =
        ["src/Storage.Osd", "src/Storage.Consensus", "src/Storage.Monitor", "src/Storage.Client"];

    [GeneratedRegex(@"Inspection|\.Rest\.cs|\.Query\.cs|SlowOperations|RarePath|Options\.cs|/I[A-Z]\w*\.cs|Exception\.cs|Statistics|/Status/|AdminQueries|RequestCapture|ClusterLogEntry|MonitorAdminServer|OsdDaemon\.Memory|/(obj|bin)/|AdminChanges|FileRaft|/Consensus/Log/")]
    private static partial Regex LeftOut();

    [GeneratedRegex(@"^(?<file>.+\.cs)\((?<line>\d+),\d+\): error ")]
    private static partial Regex Error();

    private static int Main(string[] args)
    {
        if (args.Length < 2)
        {
            Console.Error.WriteLine("make-mutants ROOT LIST [BUILD-LOG…]: ROOT is a copy of the project, a BUILD-LOG says what of an earlier attempt did not compile");
            return 2;
        }

        string root = Path.GetFullPath(args[0]);
        HashSet<int> dropped = Rejected(root, args[1], args[2..]);
        int number = 0;
        var mutants = new List<Mutant>();
        foreach (string path in s_folders.SelectMany(folder => Directory.EnumerateFiles(Path.Combine(root, folder), "*.cs", SearchOption.AllDirectories)).Order(StringComparer.Ordinal))
        {
            string file = Path.GetRelativePath(root, path);
            if (LeftOut().IsMatch(file))
            {
                continue;
            }

            var mutator = new SourceMutator(file, File.ReadAllText(path), () => ++number, mutant => !dropped.Contains(mutant.Number));
            File.WriteAllText(path, mutator.Rewrite());
            mutants.AddRange(mutator.Mutants);
        }

        File.WriteAllLines(args[1], mutants.Select(m => m.ToString()));
        Console.WriteLine($"{mutants.Count} mutants, {dropped.Count} left out that do not compile");
        return 0;
    }

    // An error lies where something is used; at fault is a mutant in the same line or, if there is none, one in the same member. What was
    // rejected before stands in a file beside the list.
    private static HashSet<int> Rejected(string root, string list, string[] logs)
    {
        string kept = list + ".rejected";
        HashSet<int> rejected = File.Exists(kept) ? [.. File.ReadAllLines(kept).Select(line => int.Parse(line, CultureInfo.InvariantCulture))] : [];
        if (logs.Length == 0 || !File.Exists(list))
        {
            return rejected;
        }

        string[][] known = [.. File.ReadAllLines(list).Select(line => line.Split('\t'))];
        foreach (Match error in logs.SelectMany(File.ReadAllLines).Select(line => Error().Match(line.Trim())).Where(m => m.Success))
        {
            string file = Path.GetRelativePath(root, error.Groups["file"].Value);
            int line = int.Parse(error.Groups["line"].Value, CultureInfo.InvariantCulture);
            int Number(string[] fields, int index) => int.Parse(fields[index], CultureInfo.InvariantCulture);
            string[][] near = [.. known.Where(fields => fields[1] == file && Number(fields, 2) == line && !rejected.Contains(Number(fields, 0)))];
            if (near.Length == 0)
            {
                near = [.. known.Where(fields => fields[1] == file && Number(fields, 3) <= line && line <= Number(fields, 4))];
            }

            rejected.UnionWith(near.Select(fields => Number(fields, 0)));
        }

        File.WriteAllLines(kept, rejected.Order().Select(n => n.ToString(CultureInfo.InvariantCulture)));
        return rejected;
    }
}
