using System.Collections.Concurrent;
using System.Globalization;

namespace Storage.StoreSoak;

/// <summary>A process's lines as they come.</summary>
internal sealed class LineReader : IDisposable
{
    private readonly BlockingCollection<string> _lines = [];
    private readonly Thread _thread;

    public LineReader(StreamReader reader)
    {
        _thread = new Thread(() =>
        {
            while (reader.ReadLine() is { } line)
            {
                _lines.Add(line);
            }

            _lines.CompleteAdding();
        })
        { IsBackground = true };
        _thread.Start();
    }

    /// <summary>No line will come any more.</summary>
    public bool IsOver => _lines.IsCompleted;

    /// <summary>The next line, or null if none came in time.</summary>
    public string? Next(TimeSpan patience) => _lines.TryTake(out string? line, patience) ? line : null;

    /// <summary>What a killed process had said before: its acknowledgements count.</summary>
    public void Drain(ref long acknowledged)
    {
        foreach (string line in _lines.GetConsumingEnumerable())
        {
            if (line.StartsWith("acked ", StringComparison.Ordinal) && long.TryParse(line.AsSpan(6), NumberStyles.None, CultureInfo.InvariantCulture, out long n))
            {
                acknowledged = n;
            }
        }
    }

    public void Dispose()
    {
        _thread.Join();
        _lines.Dispose();
    }
}
