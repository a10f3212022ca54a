using Storage.Messaging;

namespace Storage.Osd.Protocol;

/// <summary>Messages between OSDs, within the range that <see cref="MessageType"/> leaves to them. The numbers are on the wire: never reuse one.
/// All of 0x300 to 0x31F and of 0x3A0 to 0x3AF begin with a <see cref="GroupHeader"/>.</summary>
public static class OsdMessageType
{
    /// <summary>Primary → member: tell me your info of the PG.</summary>
    public const MessageType InfoRequest = (MessageType)0x300;

    /// <summary>Answer: exists (bool), <see cref="PgInfo"/>, <see cref="PgHistory"/>, first map of the disk (u32), lease left (ms, i32).</summary>
    public const MessageType InfoReply = (MessageType)0x301;

    /// <summary>Primary → holder of the authoritative log: send entries after a version.</summary>
    public const MessageType LogRequest = (MessageType)0x302;

    /// <summary>Answer: info, <see cref="LogSegment"/>.</summary>
    public const MessageType LogReply = (MessageType)0x303;

    /// <summary>Primary → member: here is the log from where you are; start this interval.</summary>
    public const MessageType Activate = (MessageType)0x304;

    /// <summary>Answer once durable: info, what is missing.</summary>
    public const MessageType ActivateReply = (MessageType)0x305;

    /// <summary>Primary → member: a log entry and the transaction it describes; or the entry alone, with the clones of it that the member has
    /// to take account of all the same.</summary>
    public const MessageType ReplicaWrite = (MessageType)0x306;

    /// <summary>Answer once durable: version.</summary>
    public const MessageType ReplicaWriteReply = (MessageType)0x307;

    /// <summary>Primary → acting member: promise not to serve another primary for a while.</summary>
    public const MessageType Lease = (MessageType)0x308;

    /// <summary>Answer: the promise is given.</summary>
    public const MessageType LeaseReply = (MessageType)0x309;

    /// <summary>Holder → receiver: a piece of an object.</summary>
    public const MessageType Push = (MessageType)0x30A;

    /// <summary>Answer: the piece is in place.</summary>
    public const MessageType PushReply = (MessageType)0x30B;

    /// <summary>Primary → holder: push me this object.</summary>
    public const MessageType Pull = (MessageType)0x30C;

    /// <summary>Primary → backfill target: list your objects.</summary>
    public const MessageType Scan = (MessageType)0x30D;

    /// <summary>Answer: ids and versions.</summary>
    public const MessageType ScanReply = (MessageType)0x30E;

    /// <summary>Primary → backfill target: everything up to the cursor is yours.</summary>
    public const MessageType BackfillProgress = (MessageType)0x30F;

    /// <summary>Answer once durable.</summary>
    public const MessageType BackfillProgressReply = (MessageType)0x310;

    /// <summary>Primary → stray: the PG is clean without you, remove your copy.</summary>
    public const MessageType Remove = (MessageType)0x311;

    /// <summary>Stray → primary: I hold a copy; info and history.</summary>
    public const MessageType Notify = (MessageType)0x312;

    /// <summary>Primary → member: what the PG's history has become.</summary>
    public const MessageType HistoryUpdate = (MessageType)0x313;

    /// <summary>Primary → member: take part in a scrub, or no longer; body: scrub number u64, whether (bool). Carries a <see cref="GroupHeader"/> as all up to <see cref="LastOfScrub"/>.</summary>
    public const MessageType ScrubReserve = (MessageType)0x390;

    /// <summary>Answer: number u64, granted (bool).</summary>
    public const MessageType ScrubReserveReply = (MessageType)0x391;

    /// <summary>Primary → member: what are your copies of this range; body: number u64, deep (bool), from (exclusive, optional id), to (inclusive, optional id).</summary>
    public const MessageType ScrubMapRequest = (MessageType)0x392;

    /// <summary>Answer: number u64, <see cref="ScrubMap"/>.</summary>
    public const MessageType ScrubMapReply = (MessageType)0x393;

    /// <summary>Primary → member: these copies of yours are bad and will be replaced, or are to be removed.</summary>
    public const MessageType ScrubMark = (MessageType)0x394;

    /// <summary>Answer once durable: number u64.</summary>
    public const MessageType ScrubMarkReply = (MessageType)0x395;

    /// <summary>Primary → member: when the PG was scrubbed, and what is wrong with it.</summary>
    public const MessageType ScrubState = (MessageType)0x396;

    /// <summary>Last of scrub's messages.</summary>
    public const MessageType LastOfScrub = (MessageType)0x399;

    /// <summary>OSD → OSD: sign of life; body: version u8, epoch u32, sent (ticks, i64), bytes until the sender is full (i64).</summary>
    public const MessageType Ping = (MessageType)0x320;

    /// <summary>Answer; same body.</summary>
    public const MessageType PingReply = (MessageType)0x321;

    /// <summary>Primary → target: keep a slot for this PG's recovery or backfill; kind (u8), priority (i32). Sent again to renew.</summary>
    public const MessageType Reserve = (MessageType)0x3A0;

    /// <summary>Answer once there is one, or at once if there is no room: kind (u8), granted (bool).</summary>
    public const MessageType ReserveReply = (MessageType)0x3A1;

    /// <summary>Primary → target: the slot is no longer needed; kind (u8).</summary>
    public const MessageType ReleaseReservation = (MessageType)0x3A2;

    /// <summary>Primary → whoever has a part in an object's recovery: a client waits for it; object.</summary>
    public const MessageType Urge = (MessageType)0x3A3;

    /// <summary>Primary → holder of a copy: which blocks of it cannot be read; object, version.</summary>
    public const MessageType DamageRequest = (MessageType)0x3A4;

    /// <summary>Answer: object, version, whether the copy is whole (bool), damaged blocks (u32 each; none as well where the copy has another version).</summary>
    public const MessageType DamageReply = (MessageType)0x3A5;

    /// <summary>Primary → holder of another copy: send these blocks; object, which copy (u8; 0 the object, 1 what it was cloned from), blocks (u32 each).</summary>
    public const MessageType BlocksRequest = (MessageType)0x3A6;

    /// <summary>Answer with those that can be read: object, the copy's version or Zero, blocks (number u32, length i32); data.</summary>
    public const MessageType BlocksReply = (MessageType)0x3A7;

    /// <summary>Primary → holder of the damaged copy: take those of these blocks that fit; object, version, the range of bytes (from, to: i64) that may have been written since the other
    /// copy's, blocks and data as in <see cref="BlocksReply"/>. Answered by
    /// <see cref="DamageReply"/> once durable.</summary>
    public const MessageType Mend = (MessageType)0x3A8;

    /// <summary>First of the further messages that carry a <see cref="GroupHeader"/>.</summary>
    public const MessageType FirstOfGroupMore = (MessageType)0x3A0;

    /// <summary>Last of the further messages that carry a <see cref="GroupHeader"/>.</summary>
    public const MessageType LastOfGroupMore = (MessageType)0x3AF;

    /// <summary>Last of the messages that carry a <see cref="GroupHeader"/>.</summary>
    public const MessageType LastOfGroup = (MessageType)0x31F;

    /// <summary>Whether a message carries a <see cref="GroupHeader"/>.</summary>
    /// <param name="type">The message's type.</param>
    /// <returns>True if it is about one PG.</returns>
    public static bool IsOfGroup(MessageType type) => type is (>= MessageType.OsdPeerFirst and <= LastOfGroup) or (>= ScrubReserve and <= LastOfScrub) or (>= FirstOfGroupMore and <= LastOfGroupMore);
}
