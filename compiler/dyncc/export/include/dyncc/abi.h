/* The C interface of a library that `dyncc export --format so` made.
 *
 * A library exports one symbol, dyncc_get_api. What it returns is a table of functions and of facts
 * about the network. C++ programs use <dyncc/model.hpp>, which wraps all of this. Tensors are
 * DLPack's: https://dmlc.github.io/dlpack.
 */
#ifndef DYNCC_ABI_H_
#define DYNCC_ABI_H_

#include <dlpack/dlpack.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Changes when anything in this file changes its meaning. */
#define DYNCC_ABI_VERSION 1

/* What functions return. */
enum {
  DYNCC_OK = 0,
  DYNCC_BAD_INPUT = 1, /* arguments that the network was not compiled for */
  DYNCC_RAISED = 2,    /* the network raised an exception; the message begins with its type */
  DYNCC_FAILED = 3     /* a kernel failed, there is no memory, or this CPU cannot run the library */
};

/* What a value is. */
typedef enum {
  DYNCC_NONE = 0,
  DYNCC_BOOL = 1,   /* as.integer, 0 or 1 */
  DYNCC_INT = 2,    /* as.integer */
  DYNCC_FLOAT = 3,  /* as.real */
  DYNCC_STR = 4,    /* as.text, `count` bytes of UTF-8 and a zero */
  DYNCC_TENSOR = 5, /* as.tensor */
  DYNCC_TUPLE = 6,  /* as.items, `count` of them; so are the rest */
  DYNCC_LIST = 7,
  DYNCC_DICT = 8,  /* items have keys */
  DYNCC_STRUCT = 9 /* a named tuple, data class or output: items have keys, `type_name` is set */
} dyncc_kind;

typedef struct dyncc_value {
  int32_t kind;          /* a dyncc_kind */
  const char* key;       /* its key in a dict or its name in a struct, else NULL */
  const char* type_name; /* of a struct, else NULL */
  size_t count;
  union {
    int64_t integer;
    double real;
    const char* text;
    DLTensor* tensor;
    const struct dyncc_value* items;
  } as;
} dyncc_value;

/* An argument. Structured arguments are flattened; `name` is then as in "batch['x'][0]". */
typedef struct dyncc_input {
  const char* name;
  int32_t kind;         /* DYNCC_TENSOR, DYNCC_BOOL, DYNCC_INT or DYNCC_FLOAT */
  DLDataType dtype;     /* of a tensor; so are the rest */
  int32_t ndim;
  const int64_t* shape; /* -1 where calls decide */
} dyncc_input;

/* A network with its state. One thread at a time may use it. */
typedef struct dyncc_model dyncc_model;

/* What a call returned. Lives until it is released, also after its model. */
typedef struct dyncc_result dyncc_result;

typedef struct dyncc_api {
  uint32_t version;    /* DYNCC_ABI_VERSION */
  const char* network; /* its name */
  const char* target;  /* the machine that the code is for */
  size_t input_count;
  const dyncc_input* inputs;

  /* Make a model in its initial state. */
  int (*create)(dyncc_model** model);
  void (*destroy)(dyncc_model* model);

  /* Run a model on `count` values, one for each input.
   *
   * Tensors are in the memory of the CPU, of any strides; those that are contiguous and aligned to
   * 64 bytes are not copied. They are not changed, unless the network changes an argument in place.
   * After DYNCC_OK, `*result` is set and has to be released. */
  int (*run)(dyncc_model* model, const dyncc_value* inputs, size_t count, dyncc_result** result);

  /* The value that the network returned. A tensor is contiguous and may be written to. */
  const dyncc_value* (*value)(const dyncc_result* result);
  void (*release)(dyncc_result* result);

  /* Give module state (buffers and attributes that calls change) its initial value. */
  int (*reset)(dyncc_model* model);

  /* What the last function of this thread that failed says: UTF-8, never NULL. */
  const char* (*error)(void);
} dyncc_api;

#if defined(__GNUC__)
#define DYNCC_PUBLIC __attribute__((visibility("default")))
#else
#define DYNCC_PUBLIC
#endif

DYNCC_PUBLIC const dyncc_api* dyncc_get_api(void);

#ifdef __cplusplus
}
#endif

#endif /* DYNCC_ABI_H_ */
