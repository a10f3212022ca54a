using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

/// <summary>Scrubs that somebody asked for and that have not been done.</summary>
/// <param name="Shallow">Compare what the copies say of themselves.</param>
/// <param name="Deep">Read all data as well.</param>
/// <param name="Repair">Repair what is certain, removals included.</param>
/// <param name="Trusted">An OSD whose copies the operator trusts where none is certain, or none.</param>
internal readonly record struct ScrubWish(bool Shallow, bool Deep, bool Repair, OsdId Trusted)
{
    public static readonly ScrubWish None = new(false, false, false, OsdId.None);

    public bool IsSome => Shallow || Deep || Repair;

    public ScrubWish With(ScrubWish other) => new(
        Shallow || other.Shallow, Deep || other.Deep, Repair || other.Repair, other.Trusted.IsSome ? other.Trusted : Trusted);
}

// Scrub (design §6.8): the primary walks the PG in object order, a bounded range at a time. While a range is looked at, writes
// to it wait; one that comes too early makes the range begin anew, a few times. Nothing is kept across intervals but the wish.
internal sealed partial class PlacementGroup
{
    private const int MostPreemptions = 4;
    private static readonly TimeSpan s_scrubReserve = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan s_scrubRetry = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_scrubRefusedRetry = TimeSpan.FromSeconds(1);

    private Scrub? _scrub;
    private ScrubWish _scrubWish = ScrubWish.None;
    private ulong _lastScrubSequence;
    private TimeSpan _scrubRetryAt = s_never;
    private bool _shareScrub;

    private enum ScrubStep
    {
        /// <summary>Members are asked whether they take part, one after the other.</summary>
        Reserving,

        /// <summary>Between two ranges.</summary>
        Pausing,

        /// <summary>Writes to the range that began before it was closed come to their end.</summary>
        Draining,

        /// <summary>Members look at their copies.</summary>
        Gathering,

        /// <summary>Members note which of their copies are bad.</summary>
        Marking,
    }

    private sealed class Scrub(ScrubWish wish, bool deep, bool requested, OsdId[] members)
    {
        public ScrubWish Wish { get; } = wish;

        public bool Deep { get; } = deep;

        public bool Requested { get; } = requested;

        public ScrubStep Step;

        /// <summary>When the present step last came forward.</summary>
        public TimeSpan Since;
        public TimeSpan ResumeAt;

        /// <summary>Ascending, this OSD among them; those before <see cref="Next"/> have a place for this scrub.</summary>
        public OsdId[] Members { get; } = members;

        /// <summary>Who is being asked.</summary>
        public int Next;

        /// <summary>What was looked at up to here; the range begins after it.</summary>
        public ObjectId? Cursor;

        /// <summary>The range's last id; null if it reaches to the end of the PG.</summary>
        public ObjectId? End;
        public int Preemptions;
        public ulong Sequence;
        public readonly SortedDictionary<OsdId, ScrubMap> Maps = [];
        public readonly SortedDictionary<OsdId, List<ScrubMark>> Unmarked = [];
        public readonly List<(OsdId Osd, ScrubMark Mark)> Marked = [];

        public long Objects;
        public long Bytes;
        public int Found;
        public int Uncertain;
        public int AutoRepairs;

        /// <summary>Whether writes to the range wait.</summary>
        public bool IsClosed => Step is ScrubStep.Draining or ScrubStep.Gathering or ScrubStep.Marking;

        public bool InRange(ObjectId id) => (Cursor is null || id > Cursor) && (End is null || id <= End);

        /// <summary>A write changed an object that was counted already.</summary>
        public void OnWrite(ObjectId id, long objects, long bytes)
        {
            if (Cursor is not null && id <= Cursor)
            {
                Objects += objects;
                Bytes += bytes;
            }
        }
    }

    /// <summary>A scrub is under way that this OSD leads.</summary>
    public bool IsScrubbing => _scrub is not null;

    /// <summary>When the last deep scrub that came to its end began to be written down, in milliseconds since the Unix epoch.</summary>
    public long LastDeepScrub => _info.LastDeepScrub;

    /// <summary>When the last scrub of any kind came to its end, in milliseconds since the Unix epoch.</summary>
    public long LastScrub => _info.LastScrub;

    /// <summary>A scrub was asked for and has not begun.</summary>
    public bool IsScrubWanted => _scrubWish.IsSome;

    /// <summary>Objects whose copy here cannot be read.</summary>
    public int DamagedObjects => _damaged.Count;

    /// <summary>Objects found wrong and not repaired.</summary>
    public long ErrorsFound => _info.ScrubErrors;

    /// <summary>Asks for a scrub beyond the schedule; it begins once the PG is clean and members are free.</summary>
    public void RequestScrub(ScrubWish wish)
    {
        _scrubWish = _scrubWish.With(wish);
        _scrubRetryAt = s_never;
    }

    /// <summary>Whether a scrub should begin now, and how urgent it is: the lower the earlier.</summary>
    public bool IsScrubDue(long nowUnixMilliseconds, out long urgency)
    {
        urgency = long.MaxValue;
        if (_scrub is not null || _phase != GroupPhase.Active || !IsClean || !CanServe || _host.Now < _scrubRetryAt || HasMissing() || !Same(_up, _acting))
        {
            return false;
        }

        if (_scrubWish.IsSome)
        {
            urgency = 0;
            return true;
        }

        if (IsDeepDue(nowUnixMilliseconds))
        {
            urgency = 1 + (_info.LastDeepScrub / 7);
            return true;
        }

        urgency = 1 + _info.LastScrub;
        return IsShallowDue(nowUnixMilliseconds);
    }

    private bool IsDeepDue(long now) => (_map.Flags & ClusterFlags.NoDeepScrub) == 0 && IsSlotPast(_info.LastDeepScrub, now, _host.Options.DeepScrubInterval);

    private bool IsShallowDue(long now) => (_map.Flags & ClusterFlags.NoScrub) == 0 && IsSlotPast(_info.LastScrub, now, _host.Options.ScrubInterval);

    // Each PG has a moment of its own in every interval, so that PGs that were made together do not stay together.
    private bool IsSlotPast(long last, long now, TimeSpan interval)
    {
        long length = (long)interval.TotalMilliseconds;
        if (length <= 0 || last > now)
        {
            return false;
        }

        uint mixed = ((uint)Id.Pool * 0x9E3779B1u) ^ (Id.Seed * 0x85EBCA77u);
        mixed ^= mixed >> 15;
        mixed *= 0x2C1B3C6Du;
        mixed ^= mixed >> 13;
        long slot = (long)(mixed / (double)uint.MaxValue * length);
        return (now - slot) / length > (last - slot) / length || now - last >= length * 3 / 2;
    }

    /// <summary>Begins a scrub that is due.</summary>
    public void StartScrub(long nowUnixMilliseconds)
    {
        ScrubWish wish = _scrubWish;
        _scrubWish = ScrubWish.None;
        bool deep = wish.Deep || wish.Repair || (!wish.IsSome && IsDeepDue(nowUnixMilliseconds));
        _scrub = new Scrub(wish, deep, wish.IsSome, [.. _acting.Order()]) { Since = _host.Now };
        _host.StateChanged();
        AskNextScrubMember(_scrub);
    }

    // In one order, this OSD's own place in its turn. If all asked all others at once while they hold their own place, as many would
    // refuse each other, and again when they ask the next time: with few OSDs and many groups nothing would be scrubbed for minutes.
    // In one order whoever holds the highest place gets on.
    private void AskNextScrubMember(Scrub scrub)
    {
        while (scrub.Next < scrub.Members.Length)
        {
            if (scrub.Members[scrub.Next] != _host.Self)
            {
                SendScrubReserve(scrub.Members[scrub.Next], want: true);
                return;
            }

            if (!_host.TryReserveScrub(Id))
            {
                RefuseScrub();
                return;
            }

            scrub.Next++;
        }

        NextRange(scrub);
    }

    private void RefuseScrub()
    {
        _host.Reached(RarePath.ScrubRefused);
        AbandonScrub();
        _scrubRetryAt -= s_scrubRetry - s_scrubRefusedRetry; // another one is being scrubbed there, which is over soon
    }

    private void SendScrubReserve(OsdId osd, bool want)
    {
        if (osd != _host.Self)
        {
            WireWriter body = Begin();
            body.WriteUInt64(_lastScrubSequence);
            body.WriteBoolean(want);
            _host.Send(osd, OsdMessageType.ScrubReserve, body);
        }
    }

    private void HandleScrubReserveReply(OsdId from, ref WireReader reader)
    {
        ulong sequence = reader.ReadUInt64();
        bool granted = reader.ReadBoolean();
        if (_scrub is not { Step: ScrubStep.Reserving } scrub || sequence != _lastScrubSequence || from != scrub.Members[scrub.Next])
        {
            return;
        }

        if (granted)
        {
            scrub.Next++;
            AskNextScrubMember(scrub);
        }
        else
        {
            RefuseScrub();
        }
    }

    private void NextRange(Scrub scrub)
    {
        scrub.Step = ScrubStep.Pausing;
        scrub.Since = _host.Now;
        ClusterFlags forbidding = scrub.Deep ? ClusterFlags.NoDeepScrub : ClusterFlags.NoScrub;
        if ((!scrub.Requested && (_map.Flags & forbidding) != 0) || _unfound.Count > 0)
        {
            AbandonScrub();
            return;
        }

        if (HasMissing())
        {
            PauseScrub(scrub, TimeSpan.FromMilliseconds(250)); // what was found is repaired first
            return;
        }

        ListRange(scrub.Cursor, null, _host.Options.ScrubChunkObjects, scrub.Deep ? _host.Options.ScrubChunkBytes : long.MaxValue, out scrub.End);
        scrub.Step = ScrubStep.Draining;
        ContinueDraining();
    }

    private void PauseScrub(Scrub scrub, TimeSpan delay)
    {
        scrub.Step = ScrubStep.Pausing;
        scrub.ResumeAt = _host.Now + delay;
        _host.Wake(this, delay);
    }

    // Called when writes ended.
    private void ContinueDraining()
    {
        if (_scrub is not { Step: ScrubStep.Draining } scrub)
        {
            return;
        }

        foreach (ObjectId id in _writing.Keys)
        {
            if (scrub.InRange(id) && !Mutations.Active(Mutation.ScrubReadsDuringWrites))
            {
                return;
            }
        }

        scrub.Step = ScrubStep.Gathering;
        scrub.Since = _host.Now;
        scrub.Sequence = ++_lastScrubSequence;
        scrub.Maps.Clear();
        foreach (OsdId osd in _acting)
        {
            SendScrubMapRequest(scrub, osd);
        }

        StartBuild(_host.Self, scrub.Sequence, scrub.Deep, scrub.Cursor, scrub.End);
    }

    private void SendScrubMapRequest(Scrub scrub, OsdId osd)
    {
        if (osd != _host.Self)
        {
            WireWriter body = Begin();
            body.WriteUInt64(scrub.Sequence);
            body.WriteBoolean(scrub.Deep);
            WriteCursor(body, scrub.Cursor);
            WriteCursor(body, scrub.End);
            _host.Send(osd, OsdMessageType.ScrubMapRequest, body);
        }
    }

    private bool IsBeingScrubbed(ObjectId id) => _scrub is { IsClosed: true } scrub && scrub.InRange(id);

    // A client's write does not wait for a scrub that can as well look at the range later.
    private void PreemptScrub(ObjectId id)
    {
        if (_scrub is not { Step: ScrubStep.Draining or ScrubStep.Gathering } scrub || !scrub.InRange(id) || scrub.Preemptions >= MostPreemptions)
        {
            return;
        }

        _host.Reached(RarePath.ScrubPreempted);
        scrub.Preemptions++;
        DropBuild();
        scrub.Sequence = ++_lastScrubSequence; // maps that are on their way are void
        PauseScrub(scrub, TimeSpan.FromMilliseconds(20 * (1 << scrub.Preemptions)));
    }

    private void HandleScrubMapReply(OsdId from, ref WireReader reader)
    {
        ulong sequence = reader.ReadUInt64();
        if (IsActing(from))
        {
            OnScrubMap(from, sequence, ScrubMap.Decode(ref reader));
        }
    }

    private void OnScrubMap(OsdId from, ulong sequence, ScrubMap map)
    {
        if (_scrub is not { Step: ScrubStep.Gathering } scrub || scrub.Sequence != sequence)
        {
            return;
        }

        scrub.Since = _host.Now;
        scrub.Maps[from] = map;
        if (scrub.Maps.Count == _acting.Length)
        {
            CompareMaps(scrub);
        }
    }

    private void FinishRange(Scrub scrub)
    {
        scrub.Preemptions = 0;
        if (scrub.End is null)
        {
            FinishScrub(scrub); // before the writes that waited, which no count would take in
            RetryAfterScrub();
            return;
        }

        scrub.Cursor = scrub.End;
        PauseScrub(scrub, _host.Options.ScrubPause);
        RetryAfterScrub();
    }

    private void RetryAfterScrub()
    {
        if (_waitingForObject.Count > 0)
        {
            foreach (ObjectId id in _waitingForObject.Keys.ToArray())
            {
                RetryObject(id);
            }
        }
    }

    private void FinishScrub(Scrub scrub)
    {
        if (scrub.Uncertain == 0 && _info.CountsEstimated)
        {
            _info.CountsEstimated = false;
            _recountedTo = null;
            _info.Objects = scrub.Objects;
            _info.Bytes = scrub.Bytes;
        }

        if (scrub.Uncertain == 0 && (scrub.Objects != _info.Objects || scrub.Bytes != _info.Bytes))
        {
            _host.Reached(RarePath.ScrubStatisticsWrong);
            _host.Counters.StatisticsErrors++;
            _info.Objects = scrub.Objects;
            _info.Bytes = scrub.Bytes;
        }

        _info.LastScrub = _host.UnixMilliseconds;
        _info.LastDeepScrub = scrub.Deep ? _info.LastScrub : _info.LastDeepScrub;
        _host.Counters.Scrubs++;
        if (scrub.Found > 0 && !scrub.Deep && _host.Options.ScrubAutoRepair)
        {
            RequestScrub(new ScrubWish(false, true, false, OsdId.None)); // it repairs what is certain
        }

        _scrub = null;
        ReleaseScrub();
        PersistScrub();
        _shareScrub = true;
        ShareScrub();
        _host.StateChanged();
    }

    private void ReleaseScrub()
    {
        DropBuild();
        foreach (OsdId osd in _acting)
        {
            SendScrubReserve(osd, want: false);
        }

        _host.ReleaseScrub(Id);
        _lastScrubSequence++;
    }

    // It begins anew later: at once in a new interval if an operator asked for it, else when the schedule says so again.
    private void AbandonScrub()
    {
        if (_scrub is { } scrub)
        {
            _scrub = null;
            ReleaseScrub();
            _scrubWish = scrub.Wish.With(_scrubWish);
            _scrubRetryAt = _host.Now + s_scrubRetry + TimeSpan.FromMilliseconds((Id.Seed * 7919 + _lastScrubSequence * 104729) % 5000);
            RetryAfterScrub();
            _host.StateChanged();
        }
    }

    // The interval is over.
    private void InterruptScrub()
    {
        if (_scrub is { } scrub)
        {
            _host.Reached(RarePath.ScrubInterrupted);
            _scrub = null;
            _host.ReleaseScrub(Id);
            _scrubWish = scrub.Wish.With(_scrubWish);
            _lastScrubSequence++;
        }

        if (_repairing.Count > 0)
        {
            _repairing.Clear();
            _scrubWish = _scrubWish.With(new ScrubWish(false, true, false, OsdId.None)); // looks at what became of them
        }

        ReleaseScrubReservation();
    }

    private void TickScrub()
    {
        ShareScrub();
        if (_scrub is not { } scrub)
        {
            return;
        }

        TimeSpan limit = scrub.Step == ScrubStep.Reserving ? s_scrubReserve : _host.Options.ScrubTimeout;
        if (scrub.Step == ScrubStep.Pausing && _host.Now >= scrub.ResumeAt)
        {
            NextRange(scrub);
        }
        else if (_host.Now - scrub.Since > limit && scrub.Step != ScrubStep.Draining)
        {
            _host.Reached(RarePath.ScrubTimedOut);
            AbandonScrub();
        }
    }

    private void ResendScrub(OsdId osd)
    {
        _shareScrub |= _phase == GroupPhase.Active && IsActing(osd);
        if (_scrub is not { } scrub || !IsActing(osd))
        {
            return;
        }

        if (scrub.Step == ScrubStep.Reserving && scrub.Members[scrub.Next] == osd)
        {
            SendScrubReserve(osd, want: true);
        }
        else if (scrub.Step == ScrubStep.Gathering && !scrub.Maps.ContainsKey(osd))
        {
            SendScrubMapRequest(scrub, osd);
        }
        else if (scrub.Step == ScrubStep.Marking && scrub.Unmarked.TryGetValue(osd, out List<ScrubMark>? marks))
        {
            SendScrubMarks(scrub, osd, marks);
        }
    }
}
