using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Osd;
using Storage.Reactor;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

// A retry gets the first outcome, however late it comes: from the log, from the ids kept beyond it, on whichever OSD leads by then.
public sealed class DuplicateTests
{
    private const ulong ClientId = 77;

    // Sends operations with the ids it is told, to the present primary.
    private sealed class RawClient(OsdCluster cluster) : IConnectionHandler
    {
        private readonly MemoryTransportSource _transports = new(cluster);
        private PgVersion? _answer;
        private ulong _asked;
        private ushort _attempt;

        public PgVersion Append(string name, ulong sequence, byte value)
        {
            _answer = null;
            _asked = sequence;
            while (_answer is null)
            {
                OsdInfo primary = cluster.Monitor.Map.FindOsd(new OsdId(cluster.Primary(cluster.Group)))!;
                IConnection connection = _transports.Next().Connect(primary.Address, this);
                var steps = new ObjectOperation().AddData(OperationCode.Append, 0, new[] { value });
                ObjectId id = Placement.ObjectOf(name);
                var body = new WireWriter(256);
                new OperationRequest
                {
                    Id = new OperationId(ClientId, sequence),
                    Attempt = ++_attempt,
                    MapEpoch = cluster.Monitor.Map.Epoch,
                    Pool = OsdCluster.Pool,
                    Hash = id.Hash,
                    Flags = OperationFlags.Write,
                    ReadSnapshot = ObjectId.NoSnapshot,
                    Name = System.Text.Encoding.UTF8.GetBytes(name),
                    StepCount = steps.Count,
                    Steps = steps.EncodedSteps,
                }.Encode(body);
                connection.Send(MessageType.Operation, body.WrittenSpan, steps.Data);
                steps.Clear();
                TimeSpan end = cluster.Loop.Now + TimeSpan.FromSeconds(5);
                while (_answer is null && cluster.Loop.Now < end && connection.IsAlive)
                {
                    cluster.RunFor(0.01);
                }

                connection.Close();
                cluster.RunFor(0.05);
            }

            return _answer.Value;
        }

        public void OnOpened(IConnection connection)
        {
        }

        public void OnMessage(IConnection connection, in Message message)
        {
            if (message.Type == MessageType.OperationReply)
            {
                OperationReply reply = OperationReply.Decode(message.Body);
                if (reply.Sequence == _asked && reply.Attempt == _attempt && reply.Result == ResultCode.Ok)
                {
                    _answer = reply.Version;
                }
            }
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
        }
    }

    private sealed class MemoryTransportSource(OsdCluster cluster)
    {
        private ITransport? _transport;

        public ITransport Next() => _transport ??= cluster.Network.CreateTransport("rawclient", new PeerIdentity(EntityKind.Client, ClientId, 1), MapAuthority.Fsid);
    }

    private static OsdOptions Short(OsdOptions options) => options with { LogEntries = 10, DuplicateEntries = 200 };

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void A_retry_is_recognised_after_any_failovers_as_long_as_its_id_is_kept(int seed)
    {
        var random = new Random(seed);
        var cluster = new OsdCluster(3, minSize: 1, seed: seed, configure: Short);
        cluster.WaitClean();
        var client = new RawClient(cluster);
        var done = new List<(ulong Sequence, PgVersion Version)>();
        ulong sequence = 0;
        int down = -1;
        for (int round = 0; round < 14; round++)
        {
            for (int i = random.Next(3, 20); i > 0; i--)
            {
                done.Add((++sequence, client.Append("log", sequence, (byte)sequence)));
            }

            // Members come and go at different positions of the log; whoever leads must know what the others answered.
            if (down < 0)
            {
                down = random.Next(2) == 0 ? cluster.Primary(cluster.Group) : random.Next(3);
                cluster.Crash(down);
                int gone = down;
                cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(new OsdId(gone)), "it is down");
            }
            else
            {
                if (random.Next(4) == 0)
                {
                    cluster.ReplaceDisk(down);
                }

                cluster.Start(down);
                down = -1;
                cluster.WaitClean();
            }

            cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("active", StringComparison.Ordinal), "active");
            for (int i = 0; i < 4; i++)
            {
                (ulong Sequence, PgVersion Version) old = done[random.Next(Math.Max(0, done.Count - 150), done.Count)];
                Assert.Equal(old.Version, client.Append("log", old.Sequence, (byte)old.Sequence));
            }
        }

        Assert.Equal(done.Select(operation => (byte)operation.Sequence), cluster.Read("log")!);
        Assert.True(Enumerable.Range(0, 3).Where(cluster.IsAlive).Sum(osd => cluster.Daemon(osd).RarePaths[(int)RarePath.DuplicateBeyondLog]) > 0);
    }

    [Fact]
    public void A_log_in_the_omap_of_an_older_disk_is_read_and_converted()
    {
        var cluster = new OsdCluster(3, configure: Short);
        cluster.WaitClean();
        var client = new RawClient(cluster);
        var done = new List<(ulong Sequence, PgVersion Version)>();
        for (ulong sequence = 1; sequence <= 40; sequence++)
        {
            done.Add((sequence, client.Append("log", sequence, (byte)sequence)));
        }

        for (int osd = 0; osd < 3; osd++)
        {
            cluster.Crash(osd);
            int gone = osd;
            cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(new OsdId(gone)), "it is down");
            WriteOldLog(cluster, osd);
            cluster.Start(osd);
            cluster.WaitClean();
            var group = new CollectionId(cluster.Group);
            var keys = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
            cluster.Store(osd).ListOmap(group, PlacementGroup.MetaObject, default, 1000, keys);
            Assert.DoesNotContain(keys, key => key.Key.Span[0] is (byte)'L' or (byte)'D');
            Assert.Equal(0, cluster.Daemon(osd).RarePaths[(int)RarePath.BackfillStarted]);
        }

        foreach ((ulong sequence, PgVersion version) in done)
        {
            Assert.Equal(version, client.Append("log", sequence, (byte)sequence));
        }

        Assert.Equal(done.Select(operation => (byte)operation.Sequence), cluster.Read("log")!);
    }

    // As disks were before collections had logs: a letter and the version, big-endian, in the omap of the PG's object.
    private static void WriteOldLog(OsdCluster cluster, int osd)
    {
        var store = new Storage.ObjectStore.Memory.MemoryObjectStore(cluster.Loop, new Random(1), cluster.Disk(osd));
        var group = new CollectionId(cluster.Group);
        Assert.True(store.TryGetAttribute(group, PlacementGroup.MetaObject, "info", out ReadOnlyMemory<byte> bytes));
        var reader = new WireReader(bytes.Span);
        PgInfo info = PgInfo.Decode(ref reader);
        var log = new PgLog();
        PgLogRecord.Load(store, group, log, info, new Queue<PgLogMark>());
        Assert.True(log.Count > 0 && log.Duplicates.Count > 0);
        var transaction = new Transaction();
        transaction.TrimLog(group, long.MaxValue);
        var writer = new WireWriter();
        info.Encode(writer);
        transaction.SetAttribute(group, PlacementGroup.MetaObject, "info", writer.ToArray());
        foreach (PgLogEntry entry in log.Entries)
        {
            writer.Clear();
            entry.Encode(writer);
            transaction.SetOmap(group, PlacementGroup.MetaObject, OldKey('L', entry.Version), writer.ToArray());
        }

        foreach (DuplicateEntry duplicate in log.Duplicates)
        {
            writer.Clear();
            writer.WriteUInt64(duplicate.Operation.Client);
            writer.WriteUInt64(duplicate.Operation.Sequence);
            writer.WriteUInt32(duplicate.Hash);
            transaction.SetOmap(group, PlacementGroup.MetaObject, OldKey('D', duplicate.Version), writer.ToArray());
        }

        store.Submit(transaction, null, 0);
        store.Close();
    }

    private static byte[] OldKey(char letter, PgVersion version)
    {
        var key = new byte[13];
        key[0] = (byte)letter;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32BigEndian(key.AsSpan(1), version.Epoch.Value);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(key.AsSpan(5), version.Number);
        return key;
    }

    [Fact]
    public void A_copy_behind_the_logs_tail_is_filled_and_one_within_it_is_not()
    {
        var cluster = new OsdCluster(3, configure: Short);
        cluster.WaitClean();
        int replica = cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        foreach ((int writes, bool fills) in new[] { (8, false), (40, true) })
        {
            long before = Started();
            cluster.Crash(replica);
            cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(new OsdId(replica)), "it is down");
            for (int i = 0; i < writes; i++)
            {
                Assert.Equal(ResultCode.Ok, cluster.Write($"object{i % 5}", [(byte)i]));
            }

            cluster.Start(replica);
            cluster.WaitClean();
            Assert.Equal(fills, Started() > before);
            cluster.AssertCopiesEqual(cluster.Group, Enumerable.Range(0, 5).Select(i => $"object{i}"));
        }

        long Started() => cluster.Daemon(cluster.Primary(cluster.Group)).RarePaths[(int)RarePath.BackfillStarted];
    }
}
