using System.CommandLine;
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

    public static Command Build() => StorageCommand.Group("object", "Objects of a pool, one by one.", Put(), Get(), Remove(), List(), Stat());

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
                        result.ThrowIfFailed($"read {run.Get(name)}");
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
                    result.ThrowIfFailed($"remove {name}");
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
                result.ThrowIfFailed($"look up {run.Get(name)}");
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
}
