using System.CommandLine;
using Storage.Cli.Commands;
using Storage.Cli.Offline;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary><c>crush</c>: the cluster's CRUSH map, and offline work on maps in files.</summary>
internal static class CrushCommands
{
    public static Command Build() => StorageCommand.Group(
        "crush",
        "CRUSH maps: the cluster's own (export, import) and files (compile, decompile, test).",
        Export(),
        Import(),
        CrushOffline.Described("compile", "Compiles a map's text form.", "storage crush compile map.txt -o map.bin"),
        CrushOffline.Described("decompile", "Prints the text form of a compiled map.", "storage crush decompile map.bin -o map.txt"),
        CrushOffline.Described(
            "test",
            "Tries a map's rules; takes the options of crushtool --test and prints the same lines.",
            "storage crush test map.txt --rule 0 --num-rep 3 --min-x 0 --max-x 9 --show-mappings",
            "storage crush test -i map.bin --rule 0 --num-rep 3 --weight 2 0 --show-utilization"));

    private static Verb Export()
    {
        var file = new Option<string?>("--output", "-o") { Description = "Write to this file instead of standard output." };
        return new Verb("export", "The cluster's CRUSH map in its text form.", "storage crush export -o map.txt") { file }.Does(async (run, cancellation) =>
        {
            CrushGetReply reply = await run.Admin.CrushGetAsync(new CrushGetRequest(), cancellation).ConfigureAwait(false);
            if (run.Get(file) is { } path)
            {
                await File.WriteAllTextAsync(path, reply.Text, cancellation).ConfigureAwait(false);
            }
            else if (run.Json)
            {
                run.Print(reply, "");
            }
            else
            {
                await Console.Out.WriteAsync(reply.Text).ConfigureAwait(false);
            }
        });
    }

    private static Verb Import()
    {
        var file = new Argument<string>("FILE") { Description = "A map in its text or compiled form; - reads text from standard input." };
        return new Verb("import", "Replaces the cluster's CRUSH map; data moves accordingly.", "storage crush export -o map.txt", "storage crush import map.txt") { file, Changes.Sure }.Does(async (run, cancellation) =>
        {
            string path = run.Get(file);
            string text;
            try
            {
                text = path == "-" ? await Console.In.ReadToEndAsync(cancellation).ConfigureAwait(false) : Storage.Crush.Testing.CrushCommand.Load(path).DecompileText();
            }
            catch (Storage.Crush.CrushFormatException e)
            {
                throw new CliException($"{path}: {e.Message}", e);
            }

            ChangeReply reply = await run.Admin.CrushSetAsync(new CrushSetRequest { Text = text, Confirmed = run.Get(Changes.Sure) }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, "CRUSH map replaced"));
        });
    }
}
