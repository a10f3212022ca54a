using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace Storage.Reactor;

/// <summary>
/// Keeps the machine's cores from sleeping deeply while a loop is woken often: the kernel's "CPU latency" request (Linux, power management quality of service,
/// <c>/dev/cpu_dma_latency</c>). It holds for all cores as long as some process asks for it, and goes with the process that asked.
/// </summary>
/// <remarks>
/// A message to a daemon whose core sleeps costs the core's way out of its sleep, tens of microseconds in a virtual machine (an interrupt through the hypervisor, paid by the
/// sender), some more in deep states of real ones. An operation at depth 1 pays that at every hop. Asked for all the time it would cost power on an idle machine.
/// </remarks>
public sealed class IdleLatency : IDisposable
{
    /// <summary>As often a second the loop must wait for the cores to be kept awake.</summary>
    public const int HoldRate = 500;

    /// <summary>Below so many a second they may sleep again.</summary>
    public const int ReleaseRate = 250;

    // No limit of ours: what the kernel takes for its default.
    private const int NoLimit = -1;

    private static readonly TimeSpan s_untilHeld = TimeSpan.FromMilliseconds(10);

    // A change wakes all cores, so there are few of them.
    private static readonly TimeSpan s_untilReleased = TimeSpan.FromMilliseconds(100);

    private readonly int _limit;
    private readonly string _device;
    private SafeFileHandle? _request;
    private TimeSpan _from;
    private int _waits;

    /// <summary>Asks for nothing yet.</summary>
    /// <param name="limit">The longest time out of sleep, in whole microseconds; zero keeps cores polling.</param>
    /// <param name="device">The kernel's device.</param>
    public IdleLatency(TimeSpan limit, string device)
    {
        _limit = (int)limit.TotalMicroseconds;
        _device = device;
    }

    /// <summary>The request is in force.</summary>
    public bool IsHeld { get; private set; }

    /// <summary>The loop has nothing to do and is about to wait, asleep or not.</summary>
    /// <param name="now">The loop's time.</param>
    /// <returns>The longest it should wait before it calls again; null if that does not matter.</returns>
    /// <exception cref="IOException">The device is not there or takes no request.</exception>
    /// <exception cref="UnauthorizedAccessException">This user may not write to the device.</exception>
    public TimeSpan? BeforeWait(TimeSpan now)
    {
        _waits++;
        TimeSpan window = IsHeld ? s_untilReleased : s_untilHeld;
        TimeSpan elapsed = now - _from;
        if (elapsed >= window)
        {
            double rate = _waits / elapsed.TotalSeconds;
            _from = now;
            _waits = 0;
            elapsed = TimeSpan.Zero;
            if (IsHeld ? rate < ReleaseRate : rate >= HoldRate)
            {
                Ask(IsHeld ? NoLimit : _limit);
                IsHeld = !IsHeld;
            }
        }

        return IsHeld ? s_untilReleased - elapsed : null;
    }

    /// <summary>Withdraws the request.</summary>
    public void Dispose()
    {
        IsHeld = false;
        _request?.Dispose();
        _request = null;
    }

    /// <summary>What suits this machine: none at all where a virtual machine's cores may poll instead of halting, else the shallowest state of usual processors.</summary>
    public static TimeSpan Suitable(string idleDriver) => idleDriver == "haltpoll" ? TimeSpan.Zero : TimeSpan.FromMicroseconds(2);

    /// <summary>Reads a setting.</summary>
    /// <param name="text">A number of microseconds, "off" for null, or nothing for what suits the machine.</param>
    /// <exception cref="NotSupportedException">It is none of these.</exception>
    public static TimeSpan? Parse(string? text)
    {
        if (string.IsNullOrEmpty(text))
        {
            const string Driver = "/sys/devices/system/cpu/cpuidle/current_driver";
            return Suitable(File.Exists(Driver) ? File.ReadAllText(Driver).Trim() : "");
        }

        if (text == "off")
        {
            return null;
        }

        return int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int microseconds) && microseconds <= 1_000_000
            ? TimeSpan.FromMicroseconds(microseconds)
            : throw new NotSupportedException($"STORAGE_IDLE_LATENCY_US is '{text}'; it may be a number of microseconds from 0 to 1000000, or off");
    }

    private void Ask(int limit)
    {
        _request ??= File.OpenHandle(_device, FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        Span<byte> value = stackalloc byte[sizeof(int)];
        BitConverter.TryWriteBytes(value, limit); // in the machine's own order: it is the kernel that reads it
        RandomAccess.Write(_request, value, 0);
    }
}
