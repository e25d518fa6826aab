# Compiles Caffe's sources: the library, the commands on top of it, and the module for Python.
#
# caffe_source.py runs it in the folder of the sources and sets the variables, all in shell syntax:
#
#   CPPFLAGS        -I for the headers of Python, NumPy, Boost and the others
#   LDFLAGS         -L and -rpath for their libraries
#   CXX             the C++ compiler
#   BOOST_PYTHON    name of Boost's library for that Python, such as boost_python311
#   LIBPYTHON       what the linker needs to put that Python into the commands
#   PROTOC          the compiler of protobuf

CXXFLAGS := -std=c++14 -O2 -fPIC -pthread -w
# Boost 1.73 and later warn of the global placeholders, which Caffe uses.
DEFINES := -DNDEBUG -DCPU_ONLY -DWITH_PYTHON_LAYER -DUSE_LMDB -DUSE_LEVELDB -DCAFFE_VERSION=1.0.0 \
           -DBOOST_BIND_GLOBAL_PLACEHOLDERS
LIBRARIES := -l$(BOOST_PYTHON) -lboost_thread -lboost_filesystem -lboost_system -lboost_regex \
             -lglog -lgflags -lprotobuf -lhdf5_hl -lhdf5 -llmdb -lleveldb -lsnappy -lopenblas

TOOLS := caffe upgrade_net_proto_text upgrade_net_proto_binary upgrade_solver_proto_text
COMMANDS := $(TOOLS:%=out/bin/%)
SOURCES := $(sort $(shell find src/caffe -name '*.cpp' -not -path '*/test/*'))
OBJECTS := $(SOURCES:%.cpp=build/%.o) build/caffe.pb.o
ALL_OBJECTS := $(OBJECTS) $(TOOLS:%=build/tools/%.o) build/python/caffe/_caffe.o
COMPILE = $(CXX) $(CXXFLAGS) $(DEFINES) -Ibuild/include -Iinclude $(CPPFLAGS) -c

.PHONY: all count
all: out/lib/libcaffe.so $(COMMANDS) out/python/caffe/_caffe.so

# How many files there are to compile.
count:
	@echo $(words $(ALL_OBJECTS))

build/include/caffe/proto/caffe.pb.h: src/caffe/proto/caffe.proto
	mkdir -p $(@D) build/include/caffe/test out/python/caffe
	touch build/include/caffe/test/test_caffe_main.hpp  # net.cpp includes it, and it wants gtest
	$(PROTOC) --proto_path=src/caffe/proto --cpp_out=$(@D) caffe.proto
	cp -r python/caffe/*.py python/caffe/imagenet out/python/caffe
	mkdir -p out/python/caffe/proto
	touch out/python/caffe/proto/__init__.py
	$(PROTOC) --proto_path=src/caffe/proto --python_out=out/python/caffe/proto caffe.proto

# In two steps, so that no interruption leaves half a file.
build/caffe.pb.o: build/include/caffe/proto/caffe.pb.h
	$(COMPILE) $(<:.h=.cc) -o $@.part && mv $@.part $@

build/%.o: %.cpp build/include/caffe/proto/caffe.pb.h
	@mkdir -p $(@D)
	$(COMPILE) $< -o $@.part && mv $@.part $@

# One library for the commands and for Python: with a copy in each, a process that has both aborts.
out/lib/libcaffe.so: $(OBJECTS)
	mkdir -p $(@D)
	$(CXX) -shared -pthread $^ -o $@ -Wl,-soname,libcaffe.so $(LDFLAGS) $(LIBRARIES)

out/bin/%: build/tools/%.o out/lib/libcaffe.so
	mkdir -p $(@D)
	$(CXX) -pthread $< -o $@ -Lout/lib -lcaffe '-Wl,-rpath,$$ORIGIN/../lib' $(LDFLAGS) \
	    $(LIBRARIES) $(LIBPYTHON)

out/python/caffe/_caffe.so: build/python/caffe/_caffe.o out/lib/libcaffe.so
	$(CXX) -shared -pthread $< -o $@ -Lout/lib -lcaffe '-Wl,-rpath,$$ORIGIN/../../lib' $(LDFLAGS) \
	    $(LIBRARIES)

.SECONDARY:
