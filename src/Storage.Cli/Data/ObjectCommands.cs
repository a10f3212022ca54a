using System.CommandLine;
using System.Globalization;
using System.Text;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Cli.Daemons;
using Storage.Client;
using Storage.Cluster;
using Storage.Crush;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Cli.Data;

/// <summary><c>object</c>: single objects of a pool.</summary>
internal static class ObjectCommands
{
    /// <summary>Bytes per operation when a file is copied.</summary>
    private const int Piece = 4 << 20;

    public static Command Build() => StorageCommand.Group("object", "Objects of a pool, one by one.", Put(), Get(), Remove(), List(), Stat(), Bench());

    private static Option<string> Pool() => new("--pool", "-p") { Description = "The pool.", Required = true };

    private static Argument<string> Name() => new("OBJECT") { Description = "The object's name." };

    private static Verb Put()
    {
        Option<string> pool = Pool();
        Argument<string> name = Name();
        var file = new Argument<string>("FILE") { Description = "The file to store; - for standard input." };
        return new Verb("put", "Stores a file as an object.", "storage object put greeting hello.txt --pool scratch", "echo hi | storage object put greeting - --pool scratch") { name, file, pool }
            .Does((run, cancellation) => DataSession.RunAsync(run, cancellation, async client =>
            {
                if (run.Get(name).Length == 0)
                {
                    throw new CliException("an object needs a name.");
                }

                long id = await DataSession.PoolIdAsync(client, run.Get(pool)!, cancellation).ConfigureAwait(false);
                string path = run.Get(file);
                using Stream stream = path == "-" ? Console.OpenStandardInput() : File.OpenRead(path);
                byte[] bytes = new byte[Piece];
                long offset = 0;
                for (int length; (length = await stream.ReadAtLeastAsync(bytes, Piece, throwOnEndOfStream: false, cancellation).ConfigureAwait(false)) > 0 || offset == 0; offset += length)
                {
                    // The first piece replaces what was there; a put that is cut short leaves a shorter object.
                    var operation = new ObjectOperation().AddData(offset == 0 ? OperationCode.WriteFull : OperationCode.Write, offset, bytes.AsSpan(0, length));
                    try
                    {
                        using OperationResult result = await client.ExecuteAsync(id, run.Get(name), operation, cancellation).ConfigureAwait(false);
                        result.ThrowIfFailed($"write {run.Get(name)}");
                    }
                    finally
                    {
                        operation.Clear();
                    }

                    if (length < Piece)
                    {
                        break;
                    }
                }
            }));
    }

    private static Verb Get()
    {
        Option<string> pool = Pool();
        Argument<string> name = Name();
        var file = new Argument<string>("FILE") { Description = "Where to; - for standard output.", DefaultValueFactory = _ => "-" };
        return new Verb("get", "Reads an object into a file.", "storage object get greeting --pool scratch") { name, file, pool }
            .Does((run, cancellation) => DataSession.RunAsync(run, cancellation, async client =>
            {
                long id = await DataSession.PoolIdAsync(client, run.Get(pool)!, cancellation).ConfigureAwait(false);
                string path = run.Get(file);
                Stream? stream = null;
                try
                {
                    for (long offset = 0; ;)
                    {
                        var operation = new ObjectOperation().Add(OperationCode.Read, offset, Piece);
                        using OperationResult result = await client.ExecuteAsync(id, run.Get(name), operation, cancellation).ConfigureAwait(false);
                        Judge(result, $"read {run.Get(name)}", run.Get(name), run.Get(pool)!);
                        stream ??= path == "-" ? Console.OpenStandardOutput() : File.Create(path);
                        BufferSegment data = result.DataOf(0);
                        await stream.WriteAsync(data.Memory, cancellation).ConfigureAwait(false);
                        offset += data.Length;
                        if (data.Length < Piece)
                        {
                            break;
                        }
                    }
                }
                finally
                {
                    if (stream is not null)
                    {
                        await stream.DisposeAsync().ConfigureAwait(false);
                    }
                }
            }));
    }

    private static Verb Remove()
    {
        Option<string> pool = Pool();
        var names = new Argument<string[]>("OBJECT") { Description = "The objects' names.", Arity = ArgumentArity.OneOrMore };
        return new Verb("rm", "Removes objects.", "storage object rm greeting --pool scratch") { names, pool }
            .Does((run, cancellation) => DataSession.RunAsync(run, cancellation, async client =>
            {
                long id = await DataSession.PoolIdAsync(client, run.Get(pool)!, cancellation).ConfigureAwait(false);
                foreach (string name in run.Get(names))
                {
                    using OperationResult result = await client.ExecuteAsync(
                        id, name, new ObjectOperation().Add(OperationCode.Remove), new OperationContext(EvenIfFull: true), cancellation).ConfigureAwait(false);
                    Judge(result, $"remove {name}", name, run.Get(pool)!);
                }
            }));
    }

    private static Verb List()
    {
        Option<string> pool = Pool();
        return new Verb("ls", "Names of all objects in a pool, in no order that means anything.", "storage object ls --pool scratch", "storage object ls --pool scratch --json") { pool }
            .Does((run, cancellation) => DataSession.RunAsync(run, cancellation, async client =>
            {
                long id = await DataSession.PoolIdAsync(client, run.Get(pool)!, cancellation).ConfigureAwait(false);
                var names = new List<string>();
                await foreach (ObjectId found in client.EnumerateObjectsAsync(id, cancellation).ConfigureAwait(false))
                {
                    if (run.Json)
                    {
                        names.Add(found.Name);
                    }
                    else
                    {
                        Console.Out.WriteLine(found.Name);
                    }
                }

                if (run.Json)
                {
                    Console.Out.WriteLine(MessageJson.Write(writer =>
                    {
                        writer.WriteStartArray();
                        names.ForEach(writer.WriteStringValue);
                        writer.WriteEndArray();
                    }));
                }
            }));
    }

    private static Verb Stat()
    {
        Option<string> pool = Pool();
        Argument<string> name = Name();
        return new Verb("stat", "An object's size, version and place.", "storage object stat greeting --pool scratch") { name, pool }
            .Does((run, cancellation) => DataSession.RunAsync(run, cancellation, async client =>
            {
                long id = await DataSession.PoolIdAsync(client, run.Get(pool)!, cancellation).ConfigureAwait(false);
                using OperationResult result = await client.ExecuteAsync(id, run.Get(name), new ObjectOperation().Add(OperationCode.Stat), cancellation).ConfigureAwait(false);
                Judge(result, $"look up {run.Get(name)}", run.Get(name), run.Get(pool)!);
                ObjectStat stat = result.StatOf(0);
                ClusterMap map = client.Map!;
                PgId group = ClusterMap.GroupOf(map.FindPool(id)!, CrushHash.StringHash(Encoding.UTF8.GetBytes(run.Get(name))));
                PgMapping mapping = map.Locate(group);
                if (run.Json)
                {
                    Console.Out.WriteLine(MessageJson.Write(writer =>
                    {
                        writer.WriteStartObject();
                        writer.WriteString("name", run.Get(name));
                        writer.WriteNumber("size", stat.Size);
                        writer.WriteString("version", stat.Version.ToString());
                        writer.WriteString("pgid", group.ToString());
                        writer.WriteStartArray("acting");
                        foreach (OsdId osd in mapping.Acting)
                        {
                            writer.WriteNumberValue(osd.Value);
                        }

                        writer.WriteEndArray();
                        writer.WriteNumber("primary", mapping.Primary.Value);
                        writer.WriteEndObject();
                    }));
                }
                else
                {
                    run.Out.WriteLine($"{run.Get(name)}: {Amount.Bytes(stat.Size)} ({stat.Size} bytes), version {stat.Version}, pg {group} on [{string.Join(',', mapping.Acting.Select(osd => osd.Value))}], primary {mapping.Primary}");
                }
            }));
    }

    private static void Judge(OperationResult result, string action, string name, string pool)
    {
        if (result.Result == ResultCode.NotFound)
        {
            throw new CliException($"there is no object '{name}' in pool '{pool}'.");
        }

        result.ThrowIfFailed(action);
    }

    private static Verb Bench()
    {
        var mode = new Argument<string>("MODE") { Description = "What to measure: write (overwrites) or read." };
        mode.AcceptOnlyFromAmong("write", "read");
        Option<string> pool = Pool();
        var depth = new Option<int>("--depth") { Description = "Operations under way at once, 1 to 4096.", DefaultValueFactory = _ => 16 };
        var objectSize = new Option<string>("--object-size") { Description = "Bytes of an object, at most 4MiB.", DefaultValueFactory = _ => "4MiB" };
        var blockSize = new Option<string>("--block-size") { Description = "Bytes of an operation; divides the object's size.", DefaultValueFactory = _ => "4KiB" };
        var objects = new Option<int>("--objects") { Description = "How many objects to make and use, 1 to 1000000.", DefaultValueFactory = _ => 64 };
        var seconds = new Option<int>("--seconds") { Description = "Length of the measured part.", DefaultValueFactory = _ => 10 };
        return new Verb(
            "bench",
            "Measures a pool with a client of its own and no gateway in between. Makes objects, works at random places of them, and removes them.",
            "storage object bench write --pool scratch --depth 32",
            "storage object bench read --pool scratch --block-size 1MiB --depth 8 --json") { mode, pool, depth, objectSize, blockSize, objects, seconds }
            .Does(async (run, cancellation) =>
            {
                var load = new ObjectBenchLoad(
                    run.Get(mode) == "write", Within(run.Get(depth), 1, 4096, "--depth"), (int)Within(Amount.ParseBytes(run.Get(objectSize)!), 1, Piece, "--object-size"),
                    (int)Within(Amount.ParseBytes(run.Get(blockSize)!), 1, Piece, "--block-size"), Within(run.Get(objects), 1, 1_000_000, "--objects"),
                    TimeSpan.FromSeconds(Within(run.Get(seconds), 1, 86400, "--seconds")));
                if (load.ObjectSize % load.BlockSize != 0)
                {
                    throw new CliException($"--block-size {load.BlockSize} does not divide --object-size {load.ObjectSize}.");
                }

                ObjectBench bench = await DataSession.RunOnLoopAsync(run, cancellation, async client =>
                {
                    var work = new ObjectBench(client, await DataSession.PoolIdAsync(client, run.Get(pool)!, cancellation), load, cancellation);
                    await work.RunAsync(stage => Console.Error.WriteLine($"{stage} …"));
                    return work;
                }).ConfigureAwait(false);
                Report(run, load, bench);
            });
    }

    private static void Report(Invocation run, ObjectBenchLoad load, ObjectBench bench)
    {
        LatencyHistogram latencies = bench.Latencies;
        double rate = latencies.Count / bench.Elapsed.TotalSeconds;
        (string Name, double Value, string Format)[] figures =
        [
            ("iops", rate, "0"),
            ("mb_s", rate * load.BlockSize / 1e6, "0.0"),
            ("mean_ms", latencies.Mean.TotalMilliseconds, "0.000"),
            ("p99_ms", latencies.Percentile(0.99).TotalMilliseconds, "0.000"),
            ("p999_ms", latencies.Percentile(0.999).TotalMilliseconds, "0.000"),
            ("max_ms", latencies.Longest.TotalMilliseconds, "0.000"),
            ("client_cpu_us_per_op", bench.ClientCpu.TotalMicroseconds / Math.Max(1, latencies.Count), "0.0"),
        ];
        if (run.Json)
        {
            Console.Out.WriteLine(MessageJson.Write(writer =>
            {
                writer.WriteStartObject();
                writer.WriteNumber("operations", latencies.Count);
                foreach ((string name, double value, _) in figures)
                {
                    writer.WriteNumber(name, Math.Round(value, 3));
                }

                writer.WriteEndObject();
            }));
            return;
        }

        Table table = Terminal.Table([.. figures.Select(figure => ">" + figure.Name)]);
        table.Row([.. figures.Select(figure => (object)figure.Value.ToString(figure.Format, CultureInfo.InvariantCulture))]);
        run.Out.Write(table);
    }

    private static T Within<T>(T value, T least, T most, string option) where T : IComparable<T> =>
        value.CompareTo(least) >= 0 && value.CompareTo(most) <= 0 ? value : throw new CliException($"{option} is {value}; it may be {least} to {most}.");
}
