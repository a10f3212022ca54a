namespace Storage.Messaging;

/// <summary>
/// One step of an operation on an object. All steps of one operation apply to the same object, in order, all or
/// nothing: when a step fails the whole operation has no effect. The numbers are on the wire.
/// </summary>
public enum OperationCode : byte
{
    /// <summary>Read [Offset, Offset+Length); answer in the data segment, shorter at the object's end. Missing object: NotFound.</summary>
    Read = 1,

    /// <summary>Answer (inline): size i64, version epoch u32, version number u64. Missing object: NotFound.</summary>
    Stat = 2,

    /// <summary>Answer (inline): count i32, then offset i64, length i64 of each range within [Offset, Offset+Length) that holds data. Missing object: NotFound.</summary>
    ListExtents = 3,

    /// <summary>Answer (inline) what is kept of the object for snapshots, whatever snapshot the request reads: newest snapshot seen u64, live
    /// object exists (bool), count i32 and per clone, oldest first: id u64, size i64, count i32 and the snapshots it shows, newest first, u64 each.
    /// Missing object without clones: NotFound.</summary>
    ListSnapshots = 4,

    /// <summary>Write Length bytes from the data segment at Offset; creates the object.</summary>
    Write = 10,

    /// <summary>Replace the object's data by Length bytes from the data segment; creates the object; attributes and omap stay.</summary>
    WriteFull = 11,

    /// <summary>Write Length bytes from the data segment at the object's end; creates the object.</summary>
    Append = 12,

    /// <summary>Make [Offset, Offset+Length) read as zeroes and free its space; does not lengthen; nothing if the object is missing.</summary>
    Zero = 13,

    /// <summary>Set the length to Offset; creates the object.</summary>
    Truncate = 14,

    /// <summary>Remove the object; NotFound if missing.</summary>
    Remove = 15,

    /// <summary>Create the object; with Length = 1 fails with Exists if it exists.</summary>
    Create = 16,

    /// <summary>Make the object what it was at snapshot Offset: data, attributes and omap, or missing. NotFound if that snapshot is removed.</summary>
    Rollback = 17,

    /// <summary>Read attribute Key; answer inline; NotFound if missing.</summary>
    GetAttribute = 20,

    /// <summary>Read all attributes; answer (inline): count i32, then name and value as length-prefixed bytes.</summary>
    GetAttributes = 21,

    /// <summary>Set attribute Key to Value; creates the object.</summary>
    SetAttribute = 22,

    /// <summary>Remove attribute Key; no error if missing.</summary>
    RemoveAttribute = 23,

    /// <summary>Read omap entries from Key (inclusive) on, at most Length of them and about 1 MiB; only keys that begin with Value,
    /// if it is not empty. Answer (inline): more (bool), count i32, then key and value as length-prefixed bytes. Missing object: NotFound.</summary>
    ListOmap = 30,

    /// <summary>Read the omap value of Key; answer inline; NotFound if missing.</summary>
    GetOmap = 31,

    /// <summary>Set omap Key to Value; creates the object.</summary>
    SetOmap = 32,

    /// <summary>Remove omap Key; no error if missing.</summary>
    RemoveOmap = 33,

    /// <summary>Remove omap keys in [Key, Value).</summary>
    RemoveOmapRange = 34,

    /// <summary>Remove all omap entries.</summary>
    ClearOmap = 35,

    /// <summary>Guard: the object exists, else NotFound.</summary>
    AssertExists = 40,

    /// <summary>Guard: the object does not exist, else Exists.</summary>
    AssertMissing = 41,

    /// <summary>Guard: attribute Key equals Value (a missing one counts as empty), else GuardFailed.</summary>
    CompareAttribute = 42,

    /// <summary>Guard: omap Key equals Value (a missing one counts as empty), else GuardFailed.</summary>
    CompareOmap = 43,

    /// <summary>Guard: the object's version number equals Offset (0: missing), else GuardFailed.</summary>
    AssertVersion = 44,

    /// <summary>List the PG's objects (the request names the PG by hash, its object name is empty): from cursor Key (an encoded
    /// ObjectId, or empty) at most Length. Answer (inline): more (bool), count i32, then encoded ObjectIds. Only live objects.</summary>
    ListObjects = 50,
}
