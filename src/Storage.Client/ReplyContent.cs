using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Client;

/// <summary>Where one step's answer lies.</summary>
internal readonly record struct StepAnswer(ResultCode Result, int InlineOffset, int InlineLength, int DataOffset, int DataLength);

/// <summary>What an <see cref="OperationResult"/> shows; pooled per thread. The generation tells a stale result from a live one.</summary>
internal sealed class ReplyContent
{
    private const int KeptPerThread = 256;
    private const int LargestKeptInline = 64 << 10;

    [ThreadStatic]
    private static Stack<ReplyContent>? t_free;

    private StepAnswer[] _answers = new StepAnswer[2];
    private byte[] _inline = [];
    private int _generation;

    public int Generation => Volatile.Read(ref _generation);

    public ResultCode Result { get; private set; }

    public PgVersion Version { get; private set; }

    public int StepCount { get; private set; }

    public BufferSegment Data { get; private set; }

    public static ReplyContent Rent() => (t_free ??= new Stack<ReplyContent>()).TryPop(out ReplyContent? content) ? content : new ReplyContent();

    public void Fill(ResultCode result, PgVersion version, int stepCount, ReadOnlySpan<byte> steps, BufferSegment data)
    {
        var reader = new WireReader(steps);
        if (stepCount > steps.Length / 12)
        {
            throw new MalformedDataException($"{stepCount} step answers announced, room for {steps.Length / 12}");
        }

        if (_answers.Length < stepCount)
        {
            _answers = new StepAnswer[stepCount];
        }

        if (_inline.Length < steps.Length)
        {
            _inline = new byte[Math.Max(64, steps.Length)];
        }

        steps.CopyTo(_inline);
        int dataOffset = 0;
        for (int i = 0; i < stepCount; i++)
        {
            var stepResult = (ResultCode)reader.ReadInt32();
            int dataLength = reader.ReadInt32();
            if (dataLength < 0 || dataLength > data.Length - dataOffset)
            {
                throw new MalformedDataException($"step {i} announces {dataLength} bytes of data, {data.Length - dataOffset} are left");
            }

            int inlineLength = reader.ReadBytes().Length;
            _answers[i] = new StepAnswer(stepResult, reader.Position - inlineLength, inlineLength, dataOffset, dataLength);
            dataOffset += dataLength;
        }

        Result = result;
        Version = version;
        StepCount = stepCount;
        data.Buffer?.Retain();
        Data = data;
    }

    public StepAnswer Step(int index)
    {
        Invariant.Holds((uint)index < (uint)StepCount);
        return _answers[index];
    }

    public ReadOnlySpan<byte> Inline(int index)
    {
        StepAnswer answer = Step(index);
        return _inline.AsSpan(answer.InlineOffset, answer.InlineLength);
    }

    public void Return()
    {
        Interlocked.Increment(ref _generation);
        Data.Buffer?.Release();
        Data = default;
        StepCount = 0;
        if (_inline.Length > LargestKeptInline)
        {
            _inline = [];
        }

        Stack<ReplyContent> free = t_free ??= new Stack<ReplyContent>();
        if (free.Count < KeptPerThread)
        {
            free.Push(this);
        }
    }
}
