/* The native half of bench.Checksum. */
#include "bench_Checksum.h"

JNIEXPORT jlong JNICALL Java_bench_Checksum_sum(JNIEnv *env, jclass class, jbyteArray bytes)
{
    jsize length = (*env)->GetArrayLength(env, bytes);
    jbyte *data = (*env)->GetByteArrayElements(env, bytes, NULL);
    jlong sum = 0;

    (void)class;
    for (jsize index = 0; data && index < length; index++)
        sum += (unsigned char)data[index];
    if (data)
        (*env)->ReleaseByteArrayElements(env, bytes, data, JNI_ABORT);
    return sum;
}
