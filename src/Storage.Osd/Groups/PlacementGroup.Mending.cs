using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

// An object of which no copy is whole in its newest version, though somebody has that version with some blocks that cannot be read: these are
// looked for in the other copies, of whatever version, block by block. One is taken only if it is what was there: the other copy has the same version, or
// the log says that nothing was written there since the version that it has, or it fits the checksum that the damaged copy keeps. The primary leads;
// whoever is asked answers and remembers nothing.
internal sealed partial class PlacementGroup
{
    private const int MostMendedBlocks = 64;

    /// <summary>The primary's search for the blocks of one object.</summary>
    private sealed class Mending(List<OsdId> holders, List<OsdId> sources)
    {
        /// <summary>Who may have the newest version, damaged, and is still to be asked. The first one is being mended.</summary>
        public Queue<OsdId> Holders { get; } = new(holders);

        /// <summary>Who may have blocks of it.</summary>
        public List<OsdId> Sources { get; } = sources;

        /// <summary>Which of the sources is asked.</summary>
        public int Source;

        /// <summary>Of its copies, the next one to look at: the object itself, then the one that it was cloned from.</summary>
        public int Candidate;

        /// <summary>Blocks below were asked for already.</summary>
        public uint NextBlock;

        /// <summary>Who owes an answer: this OSD itself while it reads.</summary>
        public OsdId Asked;

        /// <summary>Blocks of the holder's copy that cannot be read.</summary>
        public List<uint> Damaged = [];
    }

    // Says whether there is anything to try.
    private bool StartMending(Recovery recovery)
    {
        if (recovery.MendingTried || _unfound.Contains(recovery.Object))
        {
            return false; // until one more has been asked
        }

        recovery.MendingTried = true;
        ObjectId id = recovery.Object;
        var others = new List<OsdId>();
        foreach (PeerState peer in _peers.Values)
        {
            if (MayHold(peer, id))
            {
                others.Add(peer.Osd);
            }
        }

        List<OsdId> all = [_host.Self, .. others];
        if (others.Count == 0)
        {
            return false; // nobody to have blocks from
        }

        recovery.Source = _host.Self;
        recovery.Mending = new Mending(_damaged.Contains(id) ? all : others, all);
        AskForDamage(recovery);
        return true;
    }

    private void AskForDamage(Recovery recovery)
    {
        Mending mending = recovery.Mending!;
        if (!mending.Holders.TryPeek(out OsdId holder))
        {
            GiveUpMending(recovery);
            return;
        }

        mending.Asked = holder;
        (mending.Source, mending.Candidate, mending.NextBlock) = (0, 0, 0);
        if (holder == _host.Self)
        {
            ScanForDamage(holder, recovery.Object, recovery.Version);
            return;
        }

        WireWriter body = Begin();
        recovery.Object.Encode(body);
        body.WriteVersion(recovery.Version);
        _host.Send(holder, OsdMessageType.DamageRequest, body);
    }

    private void HandleDamageReply(OsdId from, ref WireReader reader)
    {
        ObjectId id = ObjectId.Decode(ref reader);
        PgVersion version = reader.ReadPgVersion();
        bool whole = reader.ReadBoolean();
        OnDamageKnown(from, id, version, whole, ReadBlocks(ref reader));
    }

    private Recovery? FindMending(ObjectId id, OsdId from) =>
        IsPrimary && _recovering.TryGetValue(id, out Recovery? recovery) && recovery.Mending is { } mending && mending.Asked == from ? recovery : null;

    // What the holder says of its copy, first and after every try to mend it.
    private void OnDamageKnown(OsdId holder, ObjectId id, PgVersion version, bool whole, List<uint> damaged)
    {
        if (FindMending(id, holder) is not { } recovery || recovery.Version != version || recovery.Mending!.Holders.Peek() != holder)
        {
            return;
        }

        Mending mending = recovery.Mending!;
        if (whole)
        {
            FinishMending(recovery, holder);
        }
        else if (damaged.Count == 0)
        {
            NextHolder(recovery); // it has another version
        }
        else
        {
            if (_peers.TryGetValue(holder, out PeerState? peer) && peer.IsActivated)
            {
                peer.Missing[id] = version; // replaced once there is a whole one, if it is not the one that is mended
            }

            mending.Damaged = damaged;
            AskForBlocks(recovery);
        }
    }

    private void NextHolder(Recovery recovery)
    {
        recovery.Mending!.Holders.Dequeue();
        AskForDamage(recovery);
    }

    private void AskForBlocks(Recovery recovery)
    {
        Mending mending = recovery.Mending!;
        OsdId holder = mending.Holders.Peek();
        while (mending.Source < mending.Sources.Count)
        {
            OsdId source = mending.Sources[mending.Source];
            List<uint> blocks = source == holder ? [] : mending.Damaged.FindAll(block => block >= mending.NextBlock);
            if (blocks.Count == 0)
            {
                mending.NextBlock = 0;
                if (source == holder || ++mending.Candidate == CandidatesOf(recovery.Object))
                {
                    mending.Candidate = 0;
                    mending.Source++;
                }

                continue;
            }

            blocks = blocks.GetRange(0, Math.Min(blocks.Count, MostMendedBlocks));
            mending.NextBlock = blocks[^1] + 1;
            SendBlocksRequest(recovery, source, blocks);
            return;
        }

        NextHolder(recovery);
    }

    private void SendBlocksRequest(Recovery recovery, OsdId source, List<uint> blocks)
    {
        Mending mending = recovery.Mending!;
        mending.Asked = source;
        if (source == _host.Self)
        {
            FetchBlocks(source, recovery.Object, mending.Candidate, blocks);
            return;
        }

        WireWriter body = Begin();
        recovery.Object.Encode(body);
        body.WriteByte((byte)mending.Candidate);
        WriteBlocks(body, blocks);
        _host.Send(source, OsdMessageType.BlocksRequest, body);
    }

    private void HandleBlocksReply(OsdId from, ref WireReader reader, BufferSegment data)
    {
        ObjectId id = ObjectId.Decode(ref reader);
        PgVersion version = reader.ReadPgVersion();
        OnBlocksFound(from, id, version, ReadFound(ref reader, data));
    }

    // What may have been written to an object after a version that a copy of it has; everything where the log does not tell.
    private TouchedRange TouchedSince(ObjectId id, PgVersion since, PgVersion to)
    {
        if (since == PgVersion.Zero || since > to)
        {
            return TouchedRange.Everything;
        }

        TouchedRange touched = TouchedRange.Nothing;
        PgVersion at = since;
        for (int i = _log.IndexAfter(since); i < _log.Count && at != to; i++)
        {
            PgLogEntry entry = _log.Entries[i];
            if (entry.Object == id)
            {
                if (entry.Prior != at || entry.Kind != LogEntryKind.Modify || entry.IsLost)
                {
                    return TouchedRange.Everything;
                }

                touched = touched.Union(entry.Touched);
                at = entry.Version;
            }
        }

        return at == to ? touched : TouchedRange.Everything;
    }

    private void OnBlocksFound(OsdId source, ObjectId id, PgVersion version, List<(uint Block, BufferSegment Data)> found)
    {
        if (FindMending(id, source) is not { } recovery || recovery.Mending!.Source >= recovery.Mending.Sources.Count
            || recovery.Mending.Sources[recovery.Mending.Source] != source)
        {
            return;
        }

        Mending mending = recovery.Mending;
        if (found.Count == 0)
        {
            AskForBlocks(recovery);
            return;
        }

        TouchedRange touched = TouchedSince(id, version, recovery.Version);
        OsdId holder = mending.Holders.Peek();
        mending.Asked = holder;
        if (holder == _host.Self)
        {
            Mend(holder, id, recovery.Version, touched, found);
            return;
        }

        // What is lost with a connection is not sent again: the holder is asked how it stands, and goes on from there.
        SendBlocks(holder, OsdMessageType.Mend, id, recovery.Version, touched, found);
    }

    private void FinishMending(Recovery recovery, OsdId holder)
    {
        ObjectId id = recovery.Object;
        _host.Reached(RarePath.ObjectMended);
        recovery.Mending = null;
        recovery.Source = OsdId.None;
        if (holder == _host.Self)
        {
            OnSelfRecovered(id);
            return;
        }

        if (_peers.TryGetValue(holder, out PeerState? peer))
        {
            peer.Missing.Remove(id);
        }

        recovery.Tried.Remove(holder);
        ResolveFinding(id);
        PullNext(recovery);
    }

    private void GiveUpMending(Recovery recovery)
    {
        recovery.Mending = null;
        recovery.Source = OsdId.None;
        PullNext(recovery);
    }

    private void ResendMending(OsdId osd)
    {
        foreach (Recovery recovery in _recovering.Values.ToArray())
        {
            if (recovery.Mending is { } mending && mending.Asked == osd)
            {
                AskForDamage(recovery);
            }
        }
    }

    // Who was asked is gone.
    private void MendingSourcesChanged()
    {
        foreach (Recovery recovery in _recovering.Values.ToArray())
        {
            if (recovery.Mending is { } mending && mending.Asked != _host.Self && !_peers.ContainsKey(mending.Asked))
            {
                GiveUpMending(recovery);
            }
        }
    }
}
