using System.Runtime.InteropServices;

namespace Storage.ObjectStore;

/// <summary>What the system offers beside .NET's threads.</summary>
internal static partial class NativeThread
{
    /// <summary>Lowers the calling thread's priority: its work has time, commits on loops' threads have not.</summary>
    public static void YieldToLoops()
    {
        const int CallingThread = 0;
        const int Nice = 5;
        _ = SetPriority(0, CallingThread, Nice);
    }

    [LibraryImport("libc", EntryPoint = "setpriority")]
    private static partial int SetPriority(int which, int who, int priority);
}
