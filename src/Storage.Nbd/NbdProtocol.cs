namespace Storage.Nbd;

/// <summary>Constants of the NBD protocol; the specification's spelling stands beside each.</summary>
internal static class NbdProtocol
{
    public const ulong InitMagic = 0x4e42444d41474943; // NBDMAGIC
    public const ulong OptionMagic = 0x49484156454F5054; // IHAVEOPT
    public const ulong OptionReplyMagic = 0x0003e889045565a9;
    public const uint RequestMagic = 0x25609513; // NBD_REQUEST_MAGIC
    public const uint SimpleReplyMagic = 0x67446698; // NBD_SIMPLE_REPLY_MAGIC
    public const uint StructuredReplyMagic = 0x668e33ef; // NBD_STRUCTURED_REPLY_MAGIC

    public const int OptionHeaderLength = 16;
    public const int RequestLength = 28;
    public const int SimpleReplyLength = 16;
    public const int ChunkHeaderLength = 20;

    /// <summary>Longest option data taken; names have up to 4096 bytes.</summary>
    public const int LongestOption = 16 << 10;

    /// <summary>Longest read or write.</summary>
    public const int LongestPayload = 32 << 20;

    /// <summary>What we call base:allocation on the wire.</summary>
    public const uint AllocationContext = 1;
}

/// <summary>Handshake flags, both directions.</summary>
[Flags]
internal enum HandshakeFlags : uint
{
    None = 0,
    FixedNewstyle = 1, // NBD_FLAG_FIXED_NEWSTYLE
    NoZeroes = 2, // NBD_FLAG_NO_ZEROES
}

internal enum NbdOption : uint
{
    ExportName = 1, // NBD_OPT_EXPORT_NAME
    Abort = 2, // NBD_OPT_ABORT
    List = 3, // NBD_OPT_LIST
    StartTls = 5, // NBD_OPT_STARTTLS
    Info = 6, // NBD_OPT_INFO
    Go = 7, // NBD_OPT_GO
    StructuredReply = 8, // NBD_OPT_STRUCTURED_REPLY
    ListMetaContext = 9, // NBD_OPT_LIST_META_CONTEXT
    SetMetaContext = 10, // NBD_OPT_SET_META_CONTEXT
}

internal enum NbdOptionReply : uint
{
    Ack = 1, // NBD_REP_ACK
    Server = 2, // NBD_REP_SERVER
    Info = 3, // NBD_REP_INFO
    MetaContext = 4, // NBD_REP_META_CONTEXT
    Unsupported = 0x80000001, // NBD_REP_ERR_UNSUP
    Policy = 0x80000002, // NBD_REP_ERR_POLICY
    Invalid = 0x80000003, // NBD_REP_ERR_INVALID
    Unknown = 0x80000006, // NBD_REP_ERR_UNKNOWN
    TooBig = 0x80000009, // NBD_REP_ERR_TOO_BIG
}

internal enum NbdInfo : ushort
{
    Export = 0, // NBD_INFO_EXPORT
    Name = 1, // NBD_INFO_NAME
    Description = 2, // NBD_INFO_DESCRIPTION
    BlockSize = 3, // NBD_INFO_BLOCK_SIZE
}

[Flags]
internal enum TransmissionFlags : ushort
{
    None = 0,
    HasFlags = 1, // NBD_FLAG_HAS_FLAGS
    ReadOnly = 2, // NBD_FLAG_READ_ONLY
    SendFlush = 4, // NBD_FLAG_SEND_FLUSH
    SendFua = 8, // NBD_FLAG_SEND_FUA
    SendTrim = 32, // NBD_FLAG_SEND_TRIM
    SendWriteZeroes = 64, // NBD_FLAG_SEND_WRITE_ZEROES
    SendDf = 128, // NBD_FLAG_SEND_DF
    CanMultiConn = 256, // NBD_FLAG_CAN_MULTI_CONN
    SendCache = 1024, // NBD_FLAG_SEND_CACHE
    SendFastZero = 2048, // NBD_FLAG_SEND_FAST_ZERO
}

internal enum NbdCommand : ushort
{
    Read = 0, // NBD_CMD_READ
    Write = 1, // NBD_CMD_WRITE
    Disconnect = 2, // NBD_CMD_DISC
    Flush = 3, // NBD_CMD_FLUSH
    Trim = 4, // NBD_CMD_TRIM
    Cache = 5, // NBD_CMD_CACHE
    WriteZeroes = 6, // NBD_CMD_WRITE_ZEROES
    BlockStatus = 7, // NBD_CMD_BLOCK_STATUS
}

[Flags]
internal enum NbdCommandFlags : ushort
{
    None = 0,
    Fua = 1, // NBD_CMD_FLAG_FUA
    NoHole = 2, // NBD_CMD_FLAG_NO_HOLE
    DontFragment = 4, // NBD_CMD_FLAG_DF
    RequestOne = 8, // NBD_CMD_FLAG_REQ_ONE
    FastZero = 16, // NBD_CMD_FLAG_FAST_ZERO
}

internal enum NbdError : uint
{
    None = 0,
    NotPermitted = 1, // NBD_EPERM
    Io = 5, // NBD_EIO
    NoMemory = 12, // NBD_ENOMEM
    Invalid = 22, // NBD_EINVAL
    NoSpace = 28, // NBD_ENOSPC
    Overflow = 75, // NBD_EOVERFLOW
    NotSupported = 95, // NBD_ENOTSUP
    Shutdown = 108, // NBD_ESHUTDOWN
}

internal enum NbdChunk : ushort
{
    None = 0, // NBD_REPLY_TYPE_NONE
    OffsetData = 1, // NBD_REPLY_TYPE_OFFSET_DATA
    OffsetHole = 2, // NBD_REPLY_TYPE_OFFSET_HOLE
    BlockStatus = 5, // NBD_REPLY_TYPE_BLOCK_STATUS
    Error = 0x8001, // NBD_REPLY_TYPE_ERROR
}
