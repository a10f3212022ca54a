using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Storage.Consensus;

/// <summary>The system calls behind <see cref="FileRaftStorage"/>, in one place so that tests can make them fail.</summary>
internal partial class RaftFiles
{
    private const int OpenReadOnly = 0;
    private const int OpenDirectory = 0x10000; // O_DIRECTORY
    private const int OpenCloseOnExec = 0x80000; // O_CLOEXEC

    public virtual void Write(SafeFileHandle file, ReadOnlySpan<byte> data, long offset) => RandomAccess.Write(file, data, offset);

    /// <summary>Makes written data durable; the size never changes after preallocation, so data alone is enough.</summary>
    public virtual void Sync(SafeFileHandle file)
    {
        if (FDataSync(file) != 0)
        {
            throw new IOException($"fdatasync failed: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    /// <summary>Makes creations, renames and removals in a directory durable.</summary>
    public virtual void SyncDirectory(string path)
    {
        using SafeFileHandle directory = Open(path, OpenReadOnly | OpenDirectory | OpenCloseOnExec);
        if (directory.IsInvalid || FSync(directory) != 0)
        {
            throw new IOException($"{path}: cannot sync the directory: {Marshal.GetLastPInvokeErrorMessage()}");
        }
    }

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int FDataSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FSync(SafeFileHandle file);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial SafeFileHandle Open(string path, int flags);
}
