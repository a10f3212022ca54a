using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Storage.Simulation.Histories.Recorded;

/// <summary>
/// What real clients asked for and were told, while faults were injected. Clients of any thread record into it. As a file it has one JSON
/// object per line: <c>{"header":…}</c>, then <c>{"fault":…}</c> and <c>{"operation":…}</c> in any order.
/// </summary>
public sealed class RecordedHistory
{
    /// <summary>Version of the file's format.</summary>
    public const int FormatVersion = 1;

    private readonly Lock _lock = new();
    private readonly List<RecordedOperation> _operations = [];
    private readonly List<RecordedFault> _faults = [];
    private long _position;
    private long _id;

    /// <summary>Creates an empty history.</summary>
    /// <param name="header">What is said of the run.</param>
    public RecordedHistory(RecordedHeader header) => Header = header;

    /// <summary>What is said of the run.</summary>
    public RecordedHeader Header { get; }

    /// <summary>The operations that have ended, in the order of their ends.</summary>
    public IReadOnlyList<RecordedOperation> Operations
    {
        get
        {
            lock (_lock)
            {
                return [.. _operations];
            }
        }
    }

    /// <summary>The faults.</summary>
    public IReadOnlyList<RecordedFault> Faults
    {
        get
        {
            lock (_lock)
            {
                return [.. _faults];
            }
        }
    }

    /// <summary>An operation is about to be sent.</summary>
    /// <param name="client">Who asks.</param>
    /// <param name="kind">What for.</param>
    /// <param name="target">On what.</param>
    /// <param name="nowUs">Microseconds since the start of the run.</param>
    /// <returns>It, to be given to <see cref="End"/>. Its number may serve as the value it writes.</returns>
    public RecordedOperation Begin(string client, RecordedKind kind, string target, long nowUs) => new()
    {
        Id = Interlocked.Increment(ref _id),
        Client = client,
        Kind = kind,
        Target = target,
        Began = Interlocked.Increment(ref _position),
        BeganUs = nowUs,
    };

    /// <summary>An operation's end is known, or nobody waits for it any more.</summary>
    /// <param name="operation">From <see cref="Begin"/>, with its result and registers.</param>
    /// <param name="nowUs">Microseconds since the start of the run.</param>
    public void End(RecordedOperation operation, long nowUs)
    {
        ArgumentNullException.ThrowIfNull(operation);
        RecordedOperation ended = operation with { Ended = Interlocked.Increment(ref _position), EndedUs = nowUs };
        lock (_lock)
        {
            _operations.Add(ended);
        }
    }

    /// <summary>A fault is over.</summary>
    /// <param name="fault">The fault.</param>
    public void Add(RecordedFault fault)
    {
        lock (_lock)
        {
            _faults.Add(fault);
        }
    }

    /// <summary>Adds an operation as it stands; for files and tests.</summary>
    /// <param name="operation">The operation.</param>
    public void Add(RecordedOperation operation)
    {
        ArgumentNullException.ThrowIfNull(operation);
        lock (_lock)
        {
            _operations.Add(operation);
            _id = Math.Max(_id, operation.Id);
            _position = Math.Max(_position, Math.Max(operation.Began, operation.Ended));
        }
    }

    /// <summary>Writes it as JSON lines.</summary>
    /// <param name="writer">Where to.</param>
    public void Save(TextWriter writer)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.WriteLine(JsonSerializer.Serialize(new Line { Header = Header }, RecordedJson.Default.Line));
        foreach (RecordedFault fault in Faults)
        {
            writer.WriteLine(JsonSerializer.Serialize(new Line { Fault = fault }, RecordedJson.Default.Line));
        }

        foreach (RecordedOperation operation in Operations)
        {
            writer.WriteLine(JsonSerializer.Serialize(new Line { Operation = operation }, RecordedJson.Default.Line));
        }
    }

    /// <summary>Reads what <see cref="Save"/> wrote.</summary>
    /// <param name="reader">Where from.</param>
    /// <returns>The history.</returns>
    /// <exception cref="FormatException">It is no history, or of another version; the message names the line.</exception>
    public static RecordedHistory Load(TextReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        RecordedHistory? history = null;
        int number = 0;
        while (reader.ReadLine() is { } text)
        {
            number++;
            if (text.Length == 0)
            {
                continue;
            }

            Line line;
            try
            {
                line = JsonSerializer.Deserialize(text, RecordedJson.Default.Line) ?? throw Malformed("it is empty");
            }
            catch (JsonException e)
            {
                throw Malformed(e.Message);
            }

            if (history is null)
            {
                RecordedHeader header = line.Header ?? throw Malformed("the first line has no header");
                history = header.Version == FormatVersion
                    ? new RecordedHistory(header)
                    : throw Malformed(string.Create(CultureInfo.InvariantCulture, $"format version {header.Version}; this program knows {FormatVersion}"));
            }
            else if (line.Operation is { } operation)
            {
                history.Add(operation);
            }
            else if (line.Fault is { } fault)
            {
                history.Add(fault);
            }
            else
            {
                throw Malformed("it holds neither an operation nor a fault");
            }
        }

        return history ?? throw Malformed("the file is empty");

        FormatException Malformed(string why) => new(string.Create(CultureInfo.InvariantCulture, $"line {number} is no part of a history: {why}"));
    }

    internal sealed record Line
    {
        public RecordedHeader? Header { get; init; }

        public RecordedFault? Fault { get; init; }

        public RecordedOperation? Operation { get; init; }
    }
}

/// <summary>JSON of history files, generated at build time.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(RecordedHistory.Line))]
internal sealed partial class RecordedJson : JsonSerializerContext;
