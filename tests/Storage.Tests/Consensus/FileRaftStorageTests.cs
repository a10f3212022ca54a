using Microsoft.Win32.SafeHandles;
using Storage.Consensus;
using Xunit;

namespace Storage.Tests.Consensus;

public sealed class FileRaftStorageTests : IDisposable
{
    private static readonly NodeId s_node = new(7);
    private static readonly RaftConfiguration s_members = new([new(7), new(8), new(9)]);
    private readonly string _directory = Directory.CreateTempSubdirectory("raft-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private FileRaftStorage Open(RaftFiles? files = null) => new(_directory, s_node, 4096, files ?? new RaftFiles());

    private static RaftEntry Entry(ulong index, ulong term, int size = 20) =>
        new(index, term, EntryKind.Command, Enumerable.Range(0, size).Select(i => (byte)(index + (ulong)i)).ToArray());

    private static Ready Batch(HardState state, RaftEntry[] entries, RaftSnapshot? snapshot = null) => new()
    {
        HardState = state,
        MustPersist = true,
        Snapshot = snapshot,
        Entries = entries,
        MessagesBeforePersist = [],
        MessagesAfterPersist = [],
        CommittedEntries = [],
        ReadStates = [],
        FailedReads = [],
        Role = RaftRole.Follower,
        Leader = NodeId.None,
    };

    private RaftStartState Reload()
    {
        using FileRaftStorage storage = Open();
        return storage.Load()!;
    }

    private static void AssertEntries(RaftStartState state, params (ulong Index, ulong Term)[] expected)
    {
        Assert.Equal(expected, state.Entries.Select(e => (e.Index, e.Term)));
        Assert.All(state.Entries, e => Assert.Equal(Entry(e.Index, e.Term, e.Data.Length).Data.ToArray(), e.Data.ToArray()));
    }

    private string[] Segments() => [.. Directory.GetFiles(_directory, "log-*.raft").Order()];

    private void Write(params Ready[] batches)
    {
        using FileRaftStorage storage = Open();
        if (storage.Load() is null)
        {
            storage.Bootstrap(RaftSnapshot.Bootstrap(s_members));
        }

        foreach (Ready batch in batches)
        {
            storage.Persist(batch);
        }
    }

    [Fact]
    public void What_was_persisted_is_found_again_and_conflicts_are_replaced()
    {
        Write(
            Batch(new(1, new(8), 0), [Entry(1, 1), Entry(2, 1), Entry(3, 1)]),
            Batch(new(2, new(9), 1), [Entry(2, 2)]));
        RaftStartState state = Reload();
        Assert.Equal(new HardState(2, new(9), 1), state.HardState);
        Assert.Equal(s_members, state.Snapshot.Configuration);
        AssertEntries(state, (1, 1), (2, 2));
    }

    [Fact]
    public void Segments_rotate_and_a_snapshot_removes_those_it_covers()
    {
        using (FileRaftStorage storage = Open())
        {
            Assert.Null(storage.Load());
            storage.Bootstrap(RaftSnapshot.Bootstrap(s_members));
            for (ulong i = 1; i <= 40; i++)
            {
                storage.Persist(Batch(new(3, default, i - 1), [Entry(i, 3, i == 20 ? 9000 : 300)]));
            }

            Assert.True(Segments().Length > 3);
            storage.SaveSnapshot(new RaftSnapshot(38, 3, s_members, new byte[] { 1, 2, 3 }));
            Assert.True(Segments().Length <= 2);
        }

        RaftStartState state = Reload();
        Assert.Equal(38UL, state.Snapshot.Index);
        Assert.Equal(new byte[] { 1, 2, 3 }, state.Snapshot.Data.ToArray());
        AssertEntries(state, (39, 3), (40, 3));
        Assert.Equal(new HardState(3, default, 39), state.HardState);
    }

    [Fact]
    public void An_installed_snapshot_voids_the_log()
    {
        Write(
            Batch(new(1, default, 0), [Entry(1, 1), Entry(2, 1), Entry(3, 1)]),
            Batch(new(4, default, 2), [], new RaftSnapshot(2, 3, s_members, new byte[5])),
            Batch(new(4, default, 2), [Entry(3, 4)]));
        RaftStartState state = Reload();
        Assert.Equal(2UL, state.Snapshot.Index);
        AssertEntries(state, (3, 4));
    }

    [Fact]
    public void A_crash_between_snapshot_and_its_record_leaves_the_snapshot_alone()
    {
        Write(Batch(new(1, new(8), 0), [Entry(1, 1), Entry(2, 1), Entry(3, 1)]));
        var snapshot = new RaftSnapshot(2, 3, s_members, new byte[5]);
        File.WriteAllBytes(Path.Combine(_directory, SnapshotFile.Name(snapshot)), SnapshotFile.Encode(s_node, snapshot));
        RaftStartState first = Reload(), second = Reload();
        Assert.Equal(new HardState(3, default, 2), first.HardState);
        Assert.Empty(first.Entries);
        Assert.Equal(first.HardState, second.HardState);
        Assert.Empty(second.Entries);
    }

    [Fact]
    public void A_record_torn_at_any_byte_is_dropped_and_written_anew()
    {
        Write(Batch(new(1, default, 0), [Entry(1, 1)]));
        string path = Segments().Single();
        byte[] before = File.ReadAllBytes(path);
        Write(Batch(new(1, default, 1), [Entry(2, 1, 40)]));
        byte[] after = File.ReadAllBytes(path);
        int start = Enumerable.Range(0, before.Length).First(i => before[i] != after[i]);
        start &= ~(LogSegment.Alignment - 1);
        int end = after.AsSpan().LastIndexOfAnyExcept((byte)0) + 1;
        for (int cut = start; cut < end; cut++)
        {
            byte[] torn = [.. after.AsSpan(0, cut), .. new byte[after.Length - cut]];
            File.WriteAllBytes(path, torn);
            AssertEntries(Reload(), (1, 1));
            Assert.Equal(before, File.ReadAllBytes(path)); // the remains are wiped
        }

        Write(Batch(new(2, default, 1), [Entry(2, 2)]));
        AssertEntries(Reload(), (1, 1), (2, 2));
        File.WriteAllBytes(path, after);
        AssertEntries(Reload(), (1, 1), (2, 1));
    }

    [Fact]
    public void A_record_whose_sectors_arrived_out_of_order_is_dropped()
    {
        Write(Batch(new(1, default, 0), [Entry(1, 1)]));
        string path = Segments().Single();
        byte[] before = File.ReadAllBytes(path);
        Write(Batch(new(1, default, 1), [Entry(2, 1, 1800)]));
        byte[] after = File.ReadAllBytes(path);
        for (int sector = 0; sector < 3; sector++)
        {
            byte[] torn = [.. after];
            before.AsSpan(sector * 512, 512).CopyTo(torn.AsSpan(sector * 512));
            File.WriteAllBytes(path, torn);
            AssertEntries(Reload(), (1, 1));
            Assert.Equal(before, File.ReadAllBytes(path));
        }
    }

    [Fact]
    public void Any_flipped_bit_in_synced_records_is_refused_and_nothing_is_changed()
    {
        Write(
            Batch(new(1, default, 0), [Entry(1, 1)]),
            Batch(new(1, default, 1), [Entry(2, 1)]),
            Batch(new(1, default, 2), [Entry(3, 1)]));
        string path = Segments().Single();
        byte[] good = File.ReadAllBytes(path);
        int end = good.AsSpan().LastIndexOfAnyExcept((byte)0) + 1;
        for (int bit = 0; bit < end * 8; bit++)
        {
            byte[] bad = [.. good];
            bad[bit / 8] ^= (byte)(1 << (bit % 8));
            File.WriteAllBytes(path, bad);
            using FileRaftStorage storage = Open();
            try
            {
                // A flip in the padding between records harms nothing.
                AssertEntries(storage.Load()!, (1, 1), (2, 1), (3, 1));
            }
            catch (RaftStorageCorruptException e)
            {
                Assert.Contains(path, e.Message, StringComparison.Ordinal);
                Assert.Equal(bad, File.ReadAllBytes(path));
            }
        }
    }

    [Fact]
    public void A_shortened_missing_foreign_or_newer_file_is_refused()
    {
        for (ulong i = 1; i <= 30; i += 10)
        {
            Write([.. Enumerable.Range((int)i, 10).Select(n => Batch(new(1, default, 0), [Entry((ulong)n, 1, 300)]))]);
        }

        string[] segments = Segments();
        Assert.True(segments.Length >= 3);
        foreach (string path in segments.Append(Directory.GetFiles(_directory, "snapshot-*").Single()))
        {
            byte[] good = File.ReadAllBytes(path);
            File.WriteAllBytes(path, good[..^1]);
            Assert.Throws<RaftStorageCorruptException>(Reload);
            byte[] newer = [.. good];
            newer[8] = 2;
            File.WriteAllBytes(path, newer);
            Assert.Contains("version 2", Assert.Throws<RaftStorageCorruptException>(Reload).Message, StringComparison.Ordinal);
            Assert.Equal(newer, File.ReadAllBytes(path));
            if (path != segments[^1])
            {
                File.Delete(path);
                Assert.Throws<RaftStorageCorruptException>(Reload);
            }

            File.WriteAllBytes(path, good);
        }

        using (var stranger = new FileRaftStorage(_directory, new NodeId(8), 4096))
        {
            Assert.Throws<RaftStorageCorruptException>(stranger.Load);
        }

        Assert.Equal(30, Reload().Entries.Count);
    }

    [Fact]
    public void A_failed_sync_is_final()
    {
        Write(Batch(new(1, default, 0), [Entry(1, 1)]));
        var files = new FailingFiles();
        using FileRaftStorage storage = Open(files);
        storage.Load();
        files.Fail = true;
        Assert.Throws<RaftStorageFailedException>(() => storage.Persist(Batch(new(2, default, 0), [Entry(2, 2)])));
        files.Fail = false;
        Assert.Throws<RaftStorageFailedException>(() => storage.Persist(Batch(new(2, default, 0), [Entry(2, 2)])));
    }

    [Fact]
    public void A_directory_has_one_owner()
    {
        using FileRaftStorage storage = Open();
        Assert.Throws<IOException>(() => Open());
    }

    private sealed class FailingFiles : RaftFiles
    {
        public bool Fail { get; set; }

        public override void Sync(SafeFileHandle file)
        {
            if (Fail)
            {
                throw new IOException("injected");
            }

            base.Sync(file);
        }
    }
}
