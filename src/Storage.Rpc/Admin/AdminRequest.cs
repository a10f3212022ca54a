namespace Storage.Rpc.Admin;

/// <summary>A request of the admin API as it came.</summary>
/// <param name="Method">The method's name, as in <c>OsdTree</c>.</param>
/// <param name="Body">The encoded request; not changed afterwards.</param>
/// <param name="Id">The client's name for it, under which it may come again and is carried out once; empty if it gave none.</param>
public readonly record struct AdminRequest(string Method, ReadOnlyMemory<byte> Body, Guid Id = default)
{
    /// <summary>The metadata that carries <see cref="Id"/>: 16 bytes.</summary>
    public const string IdHeader = "storage-request-id-bin";
}
