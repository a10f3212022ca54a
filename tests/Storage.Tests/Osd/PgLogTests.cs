using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Osd;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>The packed log beside a plain list, and what a write costs it.</summary>
public sealed class PgLogTests
{
    // Logs of releases that did not note what a write touched.
    [Fact]
    public void AnEntryOfVersionThreeMayHaveTouchedEverything()
    {
        var entry = new PgLogEntry(At(5), At(4), Placement.ObjectOf("object"), LogEntryKind.Modify, new OperationId(7, 1), [], []) { Touched = new TouchedRange(1, 2) };
        var writer = new WireWriter();
        entry.Encode(writer);
        byte[] old = writer.WrittenSpan[..^16].ToArray();
        old[0] = 3;
        var reader = new WireReader(old);
        PgLogEntry decoded = PgLogEntry.Decode(ref reader);
        Assert.Equal(TouchedRange.Everything, decoded.Touched);
        Assert.Equal((entry.Version, entry.Prior, entry.Object, entry.Operation), (decoded.Version, decoded.Prior, decoded.Object, decoded.Operation));
        Assert.Throws<MalformedDataException>(() =>
        {
            old[0] = 2;
            var garbled = new WireReader(old);
            PgLogEntry.Decode(ref garbled);
        });
    }

    [Fact]
    public void A_log_is_what_a_list_of_entries_would_be()
    {
        for (int seed = 0; seed < 40; seed++)
        {
            Compare(new Random(seed), 600);
        }
    }

    [Fact]
    public void An_entry_is_kept_as_it_is_written()
    {
        var random = new Random(3);
        ulong sequence = 0;
        var added = new PgLog();
        var packed = new PgLog();
        for (ulong number = 1; number <= 400; number++)
        {
            PgLogEntry entry = Draw(random, number, ref sequence);
            var writer = new WireWriter();
            entry.Encode(writer);
            byte[] bytes = writer.ToArray();
            var reader = new WireReader(bytes);
            Assert.True(PgLogEntry.TrySkim(ref reader, out PgLogEntry.Outline outline));
            Assert.Equal(0, reader.Remaining);
            added.Add(in entry);
            packed.AddPacked(bytes, in outline);
            if (entry.IsClients)
            {
                Assert.True(packed.TryFindOperation(entry.Operation, out PgVersion version));
                Assert.Equal(entry.Version, version);
            }

            Assert.Throws<MalformedDataException>(() =>
            {
                var cut = new WireReader(bytes.AsSpan(0, bytes.Length - 1));
                PgLogEntry.TrySkim(ref cut, out _);
            });
            bytes[0] = 3;
            var old = new WireReader(bytes);
            Assert.False(PgLogEntry.TrySkim(ref old, out _));
            Assert.Equal(0, old.Position);
        }

        Assert.Equal(added.Entries.Select(Text), packed.Entries.Select(Text));
    }

    [Fact]
    public void A_log_that_is_as_long_as_it_gets_allocates_nothing()
    {
        var log = new PgLog();
        ObjectId[] ids = [.. Enumerable.Range(0, 16).Select(i => ObjectId.Intern(System.Text.Encoding.ASCII.GetBytes($"vol.1234.{i:x16}"), (uint)i * 2654435761))];
        ulong number = 0;
        Write(8000);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Write(8000);
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        Assert.Equal((1000, 2000), (log.Count, log.Duplicates.Count));

        void Write(int count)
        {
            for (int i = 0; i < count; i++)
            {
                number++;
                log.Add(new PgLogEntry(At(number), At(number - 1), ids[number % 16], LogEntryKind.Modify, new OperationId(7, number), [], []));
                if (log.Count == 1250)
                {
                    log.Trim(At(number - 1000)); // as a group does it: many at once
                    while (log.TryDropDuplicate(2000, out _))
                    {
                    }
                }
            }
        }
    }

    private static PgVersion At(ulong number) => new(new Epoch(3), number);

    private static void Compare(Random random, int steps)
    {
        var log = new PgLog();
        var model = new List<PgLogEntry>();
        var duplicates = new List<DuplicateEntry>();
        var operations = new Dictionary<OperationId, PgVersion>();
        ulong number = 0, sequence = 0;
        for (int i = 0; i < steps; i++)
        {
            switch (random.Next(20))
            {
                case < 13:
                    for (int n = random.Next(1, 30); n > 0; n--)
                    {
                        PgLogEntry entry = Draw(random, number += (ulong)random.Next(1, 3), ref sequence);
                        log.Add(in entry);
                        model.Add(entry);
                        if (entry.IsClients)
                        {
                            operations[entry.Operation] = entry.Version;
                        }
                    }

                    break;
                case < 16 when model.Count > 0:
                    int trimmed = random.Next(model.Count + 1);
                    PgVersion to = trimmed == 0 ? PgVersion.Zero : model[trimmed - 1].Version;
                    log.Trim(to);
                    duplicates.AddRange(model.Take(trimmed).Where(entry => entry.IsClients).Select(entry => new DuplicateEntry(entry.Operation, entry.Version, entry.Object.Hash)));
                    model.RemoveRange(0, trimmed);
                    break;
                case < 18 when model.Count > 0:
                    int cut = random.Next(10) == 0 ? 0 : random.Next(model.Count + 1);
                    List<PgLogEntry> removed = log.RemoveAfter(cut == 0 ? PgVersion.Zero : model[cut - 1].Version);
                    Assert.Equal(model.Skip(cut).Select(Text), removed.Select(Text));
                    foreach (PgLogEntry entry in removed.Where(entry => operations.GetValueOrDefault(entry.Operation) == entry.Version))
                    {
                        operations.Remove(entry.Operation);
                    }

                    model.RemoveRange(cut, model.Count - cut);
                    break;
                case 18:
                    int keep = random.Next(200);
                    while (log.TryDropDuplicate(keep, out DuplicateEntry dropped))
                    {
                        Assert.Equal(duplicates[0], dropped);
                        duplicates.RemoveAt(0);
                        if (operations.GetValueOrDefault(dropped.Operation) == dropped.Version)
                        {
                            operations.Remove(dropped.Operation);
                        }
                    }

                    break;
                default:
                    if (model.Count == 0 && random.Next(3) == 0)
                    {
                        log.Clear();
                        duplicates.Clear();
                        operations.Clear();
                    }

                    var beyond = new DuplicateEntry(new OperationId(9, ++sequence % 500 + 1), At(number), (uint)random.Next());
                    log.AddDuplicate(beyond);
                    duplicates.Add(beyond);
                    operations.TryAdd(beyond.Operation, beyond.Version);
                    break;
            }

            CompareAll(random, log, model, duplicates, operations);
        }
    }

    private static void CompareAll(Random random, PgLog log, List<PgLogEntry> model, List<DuplicateEntry> duplicates, Dictionary<OperationId, PgVersion> operations)
    {
        Assert.Equal(model.Count, log.Count);
        Assert.Equal(duplicates.Count, log.Duplicates.Count);
        Assert.Equal(duplicates, log.Duplicates);
        for (int i = 0; i < model.Count; i++)
        {
            Assert.True(model[i].Version == log.Entries.VersionAt(i) && model[i].Operation == log.Entries.OperationAt(i) && model[i].Object.Hash == log.Entries.HashAt(i));
        }

        foreach (OperationId operation in operations.Keys.Take(100))
        {
            Assert.True(log.TryFindOperation(operation, out PgVersion version) && version == operations[operation]);
        }

        Assert.False(log.TryFindOperation(new OperationId(1, ulong.MaxValue), out _));
        if (model.Count == 0)
        {
            return;
        }

        int at = random.Next(model.Count);
        Assert.Equal(model[^1].Version, log.Newest);
        Assert.Equal(at + 1, log.IndexAfter(model[at].Version));
        Assert.Equal(Text(model[at]), Text(log.Find(model[at].Version)!.Value));
        Assert.True(log.TryFindOperationOf(model[at].Version, out OperationId found) && found == model[at].Operation);
        LogSegment segment = log.Since(model[at].Version, PgVersion.Zero, withDuplicates: true);
        Assert.Equal(model[at].Version, segment.Tail);
        Assert.Equal(model.Skip(at + 1).Select(Text), segment.Entries.Select(Text));
        if (random.Next(20) == 0)
        {
            Assert.Equal(model.Select(Text), log.Entries.Select(Text));
        }
    }

    private static PgLogEntry Draw(Random random, ulong number, ref ulong sequence)
    {
        if (random.Next(30) == 0)
        {
            return PgLogEntry.Elsewhere(At(number));
        }

        var id = new ObjectId(new string((char)('a' + random.Next(26)), random.Next(1, random.Next(40) == 0 ? 900 : 40)), (uint)random.Next());
        byte[] reply = new byte[random.Next(50) == 0 ? random.Next(20_000) : 0];
        random.NextBytes(reply);
        CloneEffect[] clones = random.Next(10) > 0 ? [] : [.. Enumerable.Range(1, random.Next(1, 4)).Select(i => new CloneEffect((ulong)i, LogEntryKind.Modify, At((ulong)i)))];
        OperationId operation = random.Next(10) == 0 ? default : new OperationId(5, ++sequence);
        return new PgLogEntry(At(number), At(number / 2), id, random.Next(5) == 0 ? LogEntryKind.Delete : LogEntryKind.Modify, operation, reply, clones) { IsLost = random.Next(50) == 0, Touched = random.Next(3) == 0 ? TouchedRange.Everything : new TouchedRange(random.Next(9), random.NextInt64(100)) };
    }

    private static string Text(PgLogEntry entry)
    {
        var writer = new Storage.Coding.WireWriter();
        entry.Encode(writer);
        return Convert.ToHexString(writer.WrittenSpan);
    }
}
