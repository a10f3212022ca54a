namespace Storage.Messaging;

/// <summary>Outcome of an operation or of one step of it; negative errno values as storage protocols use them.</summary>
public enum ResultCode
{
    /// <summary>Done, and durable if it was a write.</summary>
    Ok = 0,

    /// <summary>No such object, attribute or key (ENOENT).</summary>
    NotFound = -2,

    /// <summary>The object could not be read from any copy (EIO).</summary>
    IoError = -5,

    /// <summary>Not allowed (EPERM).</summary>
    NotPermitted = -1,

    /// <summary>It exists already (EEXIST).</summary>
    Exists = -17,

    /// <summary>The request makes no sense (EINVAL).</summary>
    Invalid = -22,

    /// <summary>The cluster, the pool or a disk is full (ENOSPC).</summary>
    NoSpace = -28,

    /// <summary>Larger than the limit (EFBIG).</summary>
    TooLarge = -27,

    /// <summary>A guard did not hold; nothing was done (ECANCELED).</summary>
    GuardFailed = -125,

    /// <summary>The write's list of snapshots is older than the pool's snapshot barrier; nothing was done. Read the list again and resend (ERESTART).</summary>
    StaleSnapshots = -85,

    /// <summary>This client is on the blocklist; it must not go on (ESHUTDOWN).</summary>
    Blocklisted = -108,

    /// <summary>The OSD is not the PG's primary in its map; the client should get a newer map and resend (ESTALE). Never leaves the client library.</summary>
    WrongPrimary = -116,

    /// <summary>No such pool (ENODEV).</summary>
    NoSuchPool = -19,

    /// <summary>Unknown step (EOPNOTSUPP).</summary>
    NotSupported = -95,
}
