using Storage.Block;

namespace Storage.Nbd;

/// <summary>Gives the server the volumes that it exports. Called on the loop.</summary>
public interface IVolumeProvider
{
    /// <summary>Opens an export.</summary>
    /// <param name="exportName">As the client wrote it.</param>
    /// <param name="cancellation">The client went away.</param>
    /// <returns>A share of the volume; connections that open the same export share one.</returns>
    /// <exception cref="VolumeException">There is no such export; the message goes to the client.</exception>
    ValueTask<VolumeShare> OpenAsync(string exportName, CancellationToken cancellation);

    /// <summary>Names the exports.</summary>
    /// <param name="cancellation">The client went away.</param>
    /// <returns>Names that <see cref="OpenAsync"/> takes.</returns>
    ValueTask<IReadOnlyList<string>> ListAsync(CancellationToken cancellation);
}

/// <summary>A connection's share of an open volume.</summary>
public sealed class VolumeShare : IDisposable
{
    private Action? _release;

    /// <summary>Creates a share.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="release">Called once, at disposal; may be null.</param>
    public VolumeShare(Volume volume, Action? release = null)
    {
        Volume = volume;
        _release = release;
    }

    /// <summary>The volume.</summary>
    public Volume Volume { get; }

    /// <summary>Gives the share back; does nothing the second time.</summary>
    public void Dispose()
    {
        Action? release = _release;
        _release = null;
        release?.Invoke();
    }
}
